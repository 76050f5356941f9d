"""How each engine is installed and measured. All answer the same two questions with the same names of figures:

latency: `requests` at once, in this process or its own. prefill: prompt tokens per second until every answer has begun;
decode: tokens per second from then on.
serve: requests one after another, `concurrency` at once. output_throughput, median_ttft_ms, median_tpot_ms.
"""

import json
import pathlib
import subprocess
from dataclasses import asdict, dataclass, field

from servers import EngineError, Load, measure_server, run_json

HERE = pathlib.Path(__file__).resolve().parent


@dataclass
class Settings:
    ingot: str
    peers: pathlib.Path  # where the others are installed
    threads: int
    compute: str  # Ingot's mode
    prefix: list[str] = field(default_factory=list)  # of every command: how it is scheduled
    install: bool = True


class Engine:
    name = ""
    place = "over HTTP"  # how it is asked when it serves

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def prepare(self) -> str:
        """Installs it. Its version; an EngineError says why there is none."""
        raise NotImplementedError

    def latency(self, model: str, load: Load) -> dict:
        raise NotImplementedError

    def serve(self, model: str, load: Load) -> dict:
        raise NotImplementedError

    def close(self) -> None:
        """Ends what it keeps running."""

    def _install(self, folder: str) -> str:
        version = self.settings.peers / folder / "version"
        if not version.is_file():
            if not self.settings.install:
                raise EngineError(f"not installed in {self.settings.peers}, and --no-install is given")
            done = subprocess.run([HERE / "install.sh", folder, self.settings.peers], stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                raise EngineError((done.stderr.strip().splitlines() or ["install.sh failed"])[-1])
        return version.read_text().strip()


class Ingot(Engine):
    name = "Ingot"

    def prepare(self) -> str:
        command = [self.settings.ingot, "check_env", "--json"]
        try:
            return run_json(command)[0]["version"]
        except OSError as error:
            raise EngineError(f"{self.settings.ingot}: {error.strerror}; `make build` builds it") from error

    def _options(self) -> list[str]:
        return ["--threads", str(self.settings.threads), "--compute", self.settings.compute]

    def latency(self, model: str, load: Load) -> dict:
        command = [*self.settings.prefix, self.settings.ingot, "bench", "latency", model, "--json", *self._options(),
                   "--batch-size", str(load.requests), "--input-len", str(load.input_len), "--output-len",
                   str(load.output_len), "--num-iters", "1", "--seed", str(load.seed)]  # fmt: skip
        run = run_json(command)[0]["runs"][0]
        return {"prefill": run["median_prefill_throughput"], "decode": run["median_decode_throughput"]}

    def serve(self, model: str, load: Load) -> dict:
        server = [*self.settings.prefix, self.settings.ingot, "serve", "api_server", model, *self._options(),
                  "--max-batch-size", str(load.concurrency), "--session-len", str(load.slot), "--server-port"]  # fmt: skip
        return measure_server(server, [*self.settings.prefix, self.settings.ingot], model, load)


class LlamaCpp(Engine):
    name = "llama.cpp"

    def prepare(self) -> str:
        return self._install("llama.cpp")

    def _command(self, program: str, model: str, context: int) -> list[str]:
        threads = str(self.settings.threads)
        return [*self.settings.prefix, str(self.settings.peers / "llama.cpp/build/bin" / program), "-m", model, "-t", threads,
                "-tb", threads, "-c", str(context)]  # fmt: skip

    def latency(self, model: str, load: Load) -> dict:
        lengths = f"{load.input_len},{load.input_len}"  # the first warms up
        command = [*self._command("llama-batched-bench", model, load.requests * load.slot), "-npp", lengths, "-ntg",
                   str(load.output_len), "-npl", str(load.requests), "--output-format", "jsonl"]  # fmt: skip
        run = run_json(command)[-1]
        return {"prefill": run["speed_pp"], "decode": run["speed_tg"]}

    def serve(self, model: str, load: Load) -> dict:
        server = [*self._command("llama-server", model, load.slot * load.concurrency), "-np", str(load.concurrency), "--host",
                  "127.0.0.1", "--port"]  # fmt: skip
        return measure_server(server, [*self.settings.prefix, self.settings.ingot], model, load)


class OpenVino(Engine):
    """One process for each file, which sleeps while others are measured: it takes long to load."""

    name = "OpenVINO GenAI"
    place = "in process"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._model, self._process = "", None

    def prepare(self) -> str:
        return self._install("openvino")

    def _ask(self, model: str, load: Load) -> dict:
        if self._model != model:
            self.close()
            command = [*self.settings.prefix, str(self.settings.peers / "openvino/venv/bin/python"),
                       str(HERE / "openvino_worker.py"), model, str(self.settings.threads)]  # fmt: skip
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=subprocess.PIPE, text=True)  # fmt: skip
            self._model = model
            self._answer()  # it is loaded
            self._request(Load(1, 1, 64, 4))  # warms up
        return self._request(load)

    def _request(self, load: Load) -> dict:
        try:
            self._process.stdin.write(json.dumps(asdict(load)) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # _answer says how it ended
        return self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        last = self._process.stderr.read().strip().splitlines()[-1:] or ["no output"]
        self.close()
        raise EngineError(f"its process ended: {last[0]}")

    def latency(self, model: str, load: Load) -> dict:
        return self._ask(model, load)

    def serve(self, model: str, load: Load) -> dict:
        return self._ask(model, load)

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._model, self._process = "", None


ENGINES = {"ingot": Ingot, "llama.cpp": LlamaCpp, "openvino": OpenVino}
