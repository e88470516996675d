"""Verifiers as nobody should write them, and a few that tell where they are. Worker processes import this."""

import os
import subprocess
import sys
import time

from nemo_prorl.data.trajectory import Verdict


class Hangs:
    def check(self, reference, text):
        while True:
            time.sleep(0.01)


class HangsWithChild:
    """Its child would outlive it; the reference says where to write the child's number."""

    def check(self, reference, text):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open(reference["file"], "w") as file:
            file.write(str(child.pid))
        child.wait()


class Raises:
    def check(self, reference, text):
        raise KeyError("gold\ud800")


class Dies:
    def check(self, reference, text):
        os._exit(3)


class DiesOnRequest:
    def check(self, reference, text):
        if text == "die":
            os._exit(3)
        return Verdict(1.0)


class Exits:
    def check(self, reference, text):
        sys.exit("no more")


class RaisesOnRequest:
    def check(self, reference, text):
        if text == "raise":
            raise RuntimeError(f"no gold for {reference['answer']}")
        return Verdict(0.5, "fine")


class AnswersNothing:
    def check(self, reference, text):
        return None


class RewardsTooMuch:
    def check(self, reference, text):
        return Verdict(7.0)


class Prints:
    def check(self, reference, text):
        print("x" * 100_000)
        sys.stderr.write("y" * 100_000)
        return Verdict(1.0)


class EatsMemory:
    def check(self, reference, text):
        return Verdict(float(len(bytearray(64 << 30)) > 0))


class Where:
    """Its reason is the process, and what it knows about the world outside."""

    def check(self, reference, text):
        found = {"pid": os.getpid(), "session": os.getsid(0), "torch": "torch" in sys.modules}
        return Verdict(1.0, repr(found | {"secret": os.environ.get("SOME_API_KEY"), "length": len(text)}))


class NeedsWhatIsMissing:
    def __init__(self):
        import a_package_that_nobody_has  # noqa: F401
