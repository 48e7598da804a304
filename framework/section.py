"""Section: a part of a recipe that has one meaning and no name to choose it by."""


class Section:
    """What a nameless map of a recipe stands for, `environment: {…}`: its constructor is the schema, as a part's is."""
