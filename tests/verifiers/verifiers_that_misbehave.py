"""Verifiers as nobody should write them, and a few that tell where they are. Worker processes import this."""

import os
import subprocess
import sys
import time

from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.verifiers.permission import require_confinement


class Hangs:
    def check(self, reference, text):
        while True:
            time.sleep(0.01)


class Slow:
    def check(self, reference, text):
        time.sleep(reference.get("seconds", 0.05))
        return Verdict(1.0)


class SlowUnconfined(Slow):
    confined = False


class WarmsUp:
    warmed_by = None

    @classmethod
    def warm_up(cls):
        cls.warmed_by = os.getpid()

    def check(self, reference, text):
        return Verdict(1.0, repr({"warmed_by": self.warmed_by, "pid": os.getpid()}))


class HangsWithChild:
    """Its child would outlive it; the reference says where to write the child's number."""

    confined = False

    def check(self, reference, text):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        with open(reference["file"], "w") as file:
            file.write(str(child.pid))
        child.wait()


class Raises:
    def check(self, reference, text):
        raise KeyError("gold\ud800")


class RaisesAtLength:
    def check(self, reference, text):
        raise ValueError(text)


class Dies:
    def check(self, reference, text):
        os._exit(3)


class DiesOfANamelessSignal:
    def check(self, reference, text):
        os.kill(os.getpid(), 40)


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


class WhereUnconfined(Where):
    confined = False


class WritesWhereItMay:
    confined = False

    def check(self, reference, text):
        with open(reference["file"], "w"):
            return Verdict(1.0)


class Evaluates:
    """Runs the text, as a scorer with `eval` in it would; its reason is what came of that."""

    def check(self, reference, text):
        found = {}
        try:
            exec(text, found)
        except Exception as error:
            found["result"] = f"{type(error).__name__}: {error}"
        return Verdict(1.0, str(found.get("result")))


class EvaluatesWithPermission(Evaluates):
    def check(self, reference, text):
        require_confinement("this verifier")
        return super().check(reference, text)


class ImportsLate:
    """A package and its data, which nothing has opened before it gave up its powers."""

    def check(self, reference, text):
        import colorsys  # noqa: F401
        from importlib.resources import files

        import reasoning_gym.data

        words = files(reasoning_gym.data).joinpath("holdout_words.txt").read_text()
        return Verdict(float(len(words) > 10), "read")


class HasSandbox:
    """Is told what is demanded of the sandbox that it has itself."""

    confined = False

    def __init__(self, *, sandbox):
        self.sandbox = sandbox

    def check(self, reference, text):
        return Verdict(1.0, f"{self.sandbox.level} {self.sandbox.allow_unconfined}")


class NeedsWhatIsMissing:
    def __init__(self):
        import a_package_that_nobody_has  # noqa: F401
