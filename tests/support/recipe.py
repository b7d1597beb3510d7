"""The recipe of raw primitives, as users of etcd3 write it: whoever creates the key leads.

usage: recipe.py PORT KEY VALUE TTL COMMAND [ARGUMENT]...

Prints "waits" when somebody else leads, "leads REVISION" once the command runs, and goes on until SIGTERM; then
it ends the command, gives the key back, and exits.
"""

import os
import queue
import signal
import subprocess
import sys
import threading

import etcd3

port, key, value, ttl, *command = sys.argv[1:]
client = etcd3.client(host="127.0.0.1", port=int(port))
lease = client.lease(int(ttl))
over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())


def refresh():
    while not over.wait(int(ttl) / 3):
        lease.refresh()


threading.Thread(target=refresh, daemon=True).start()

# Watched before it is looked at, so that no end of a leader is missed.
changes = queue.Queue()
client.add_watch_callback(key, lambda response: [changes.put(event) for event in response.events])
while True:
    created, _ = client.transaction(
        compare=[client.transactions.create(key) == 0],
        success=[client.transactions.put(key, value, lease)],
        failure=[],
    )
    if created:
        break
    print("waits", flush=True)
    while not isinstance(changes.get(), etcd3.events.DeleteEvent):
        pass

_, metadata = client.get(key)
revision = metadata.create_revision
child = subprocess.Popen(command, env={**os.environ, "LEADERRUN_TOKEN": str(revision)})
print("leads", revision, flush=True)
over.wait()
child.kill()
child.wait()
lease.revoke()
