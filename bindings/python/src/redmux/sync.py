"""redmux without await, for threads and prompts. The same names as `redmux`, each waiting in its own thread.

>>> with redmux.sync.connect("redis://localhost") as client:
...     with client.subscribe("news") as sub:
...         client.publish("news", "hi")
...         for message in sub:
...             print(message.channel, message.text())
...             break
1
news hi

Waiting is done in slices of 200 ms, so that Ctrl-C works.
"""

from ._sync.client import Client, connect
from ._sync.gather import Gather
from ._sync.promises import Promise, Promises
from ._sync.responder import Responder
from ._sync.subscription import Subscription

__all__ = ["Client", "Gather", "Promise", "Promises", "Responder", "Subscription", "connect"]

for _name in __all__:
    globals()[_name].__module__ = __name__
