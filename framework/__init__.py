"""Latent-variable models and policy gradients from interchangeable parts.

The public names are those of `__init__.pyi` beside this file: what plugins import, and what notebooks and scripts use.
Each is imported when it is first used, so that the command line starts without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
