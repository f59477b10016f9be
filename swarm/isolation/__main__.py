"""Run as a folder by `start.py`, without site packages: importing all of `swarm` takes too long for a launcher."""

import sys
import types
from pathlib import Path

package = types.ModuleType("swarm")
package.__path__ = [str(Path(__file__).resolve().parents[1])]
sys.modules["swarm"] = package

from swarm.isolation.launcher import main  # noqa: E402 - found through the folder above

main()
