"""WebShop: a shop of real products behind text pages; our own engine.

Page texts, clickable names, search ranking and reward are those of the published
environment (Yao et al., arXiv:2207.01206), tested against recordings of it. `files` and
`catalogue` turn the published data into derived files once; `search` ranks; `goals`
makes the goal list; `pages` and `session` are the web site; `reward` judges a purchase
with the nouns that `nouns` finds in titles; `env` and `source` are the two protocols.
"""

from skilljax.envs.webshop.env import WebshopEnv
from skilljax.envs.webshop.settings import WebshopSettings
from skilljax.envs.webshop.source import WebshopSource

__all__ = ["WebshopEnv", "WebshopSettings", "WebshopSource"]
