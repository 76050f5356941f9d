"""ChatTemplateConfig: templates that are made of pieces, as LMDeploy's are."""

import json
import pathlib
import tempfile
import unittest

import support  # noqa: F401  the environment
import tiny_model

import ingot
from ingot import ChatTemplateConfig, GenerationConfig, errors, templates

CONFIG = ingot.TurbomindEngineConfig(session_len=1024, max_batch_size=4, kv_cache_bytes=8 << 20)
# As LMDeploy documents it.
JSON = """{
    "model_name": "your awesome chat template name",
    "system": "<|im_start|>system\\n",
    "meta_instruction": "You are a robot developed by LMDeploy.",
    "eosys": "<|im_end|>\\n",
    "user": "<|im_start|>user\\n",
    "eoh": "<|im_end|>\\n",
    "assistant": "<|im_start|>assistant\\n",
    "eoa": "<|im_end|>",
    "separator": "\\n",
    "capability": "chat",
    "stop_words": ["<|im_end|>"]
}"""
ROBOT = "<|im_start|>system\nYou are a robot developed by LMDeploy.<|im_end|>\n"
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]


class Templates(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.model = tiny_model.write(cls.folder)

    def load(self, template: ChatTemplateConfig) -> ingot.Pipeline:
        pipe = ingot.pipeline(self.model, backend_config=CONFIG, chat_template_config=template)
        self.addCleanup(pipe.close)
        return pipe

    def text(self, pipe: ingot.Pipeline, prompt: object) -> str:
        return pipe.tokenizer.decode(pipe.apply_chat_template(prompt), skip_special_tokens=False)

    def test_lmdeploys_json(self) -> None:
        file = self.folder / "template.json"
        file.write_text(JSON)
        for given in (JSON, file, str(file)):
            self.assertEqual(ChatTemplateConfig.from_json(given).separator, "\n")
        config = ChatTemplateConfig.from_json(JSON)
        self.assertEqual({name: value for name, value in json.loads(config.to_json()).items() if value is not None}, json.loads(JSON))
        config.to_json(self.folder / "again.json")
        self.assertEqual(ChatTemplateConfig.from_json(self.folder / "again.json"), config)
        pipe = self.load(config)
        self.assertEqual(self.text(pipe, "Hi"), f"<s>{ROBOT}<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
        user = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
        self.assertEqual(self.text(pipe, TURNS), f"<s><|im_start|>system\nBe brief.<|im_end|>\n{user}")
        self.assertEqual(self.text(pipe, TURNS[1:]), f"<s>{ROBOT}{user}")

    def test_pieces_are_text_whatever_they_hold(self) -> None:
        odd = "{{ 1 }}{% if %}'\"\\ \n{#é\u2028"
        pipe = self.load(ChatTemplateConfig(user=odd, eoh=odd, assistant="A:"))
        self.assertEqual(self.text(pipe, "Hi"), f"<s>{odd}Hi{odd}A:")
        self.assertEqual(self.text(pipe, "<|im_end|>"), f"<s>{odd}<|im_end|>{odd}A:")
        self.assertNotIn(pipe.tokenizer.token_to_id("<|im_end|>"), pipe.apply_chat_template("<|im_end|>"))  # a user's

    def test_bos_once(self) -> None:
        self.assertEqual(self.text(self.load(ChatTemplateConfig(user="<s>U:")), "Hi"), "<s>U:Hi")

    def test_roles(self) -> None:
        pipe = self.load(ChatTemplateConfig(user="U:", eoh=";", assistant="A:", eoa="$", separator=";", tool="T:", eotool="|", system="S:", eosys=";"))
        called = [TURNS[1], TURNS[2], {"role": "tool", "content": "5", "tool_call_id": "1"}]
        self.assertEqual(self.text(pipe, called), "<s>U:Hi;A:Hello$;T:5|A:")
        self.assertEqual(self.text(pipe, TURNS[1:3]), "<s>U:Hi;A:Hello")  # the beginning of an answer
        self.assertEqual(self.text(pipe, [{"role": "developer", "content": "x"}, TURNS[1]]), "<s>S:x;U:Hi;A:")

    def test_built_in_templates_are_these_pieces(self) -> None:
        for name, pieces in templates.BUILTINS.items():
            with self.subTest(name):
                builtin, made = self.load(ChatTemplateConfig(name)), self.load(ChatTemplateConfig(**pieces))
                for prompt in (TURNS, TURNS[1:]):
                    self.assertEqual(self.text(made, prompt).removeprefix("<s>"), self.text(builtin, prompt).removeprefix("<s>"))
                builtin.close()
                made.close()

    def test_one_piece_of_a_built_in_template(self) -> None:
        for name in ("qwen", "qwen2.5"):  # an alias of it
            pipe = self.load(ChatTemplateConfig(name, user="<|im_start|>human\n"))
            begin = "<s><|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            self.assertEqual(self.text(pipe, "Hi"), f"{begin}<|im_start|>human\nHi<|im_end|>\n<|im_start|>assistant\n")
        pipe = self.load(ChatTemplateConfig("qwen", user="U", meta_instruction="Go."))
        self.assertTrue(self.text(pipe, "Hi").startswith("<s><|im_start|>system\nGo.<|im_end|>\nUHi"))

    def test_stop_words(self) -> None:
        free = self.load(ChatTemplateConfig(user="U:", assistant="A:"))("Hi", gen_config=GenerationConfig(max_new_tokens=12))
        token = next(id for id in free.token_ids[3:] if id not in free.token_ids[:3])
        stop = tiny_model.byte_letters()[token]
        pipe = self.load(ChatTemplateConfig(user="U:", assistant="A:", stop_words=[stop, "two letters"]))
        cut = pipe("Hi", gen_config=GenerationConfig(max_new_tokens=12, stop_words=["three"]))
        self.assertEqual((cut.finish_reason, cut.token_ids), ("stop", free.token_ids[: free.token_ids.index(token) + 1]))
        config = pipe._with_template_stops(GenerationConfig(stop_words=["three"]))
        self.assertEqual((config.stop_words, config.stop_token_ids), (["three", "two letters"], [token]))

    def test_completion(self) -> None:
        pipe = self.load(ChatTemplateConfig(user="U:", assistant="A:", capability="completion"))
        short = GenerationConfig(max_new_tokens=2)
        self.assertEqual(pipe("Hi", gen_config=short).input_token_len, len("Hi") + 1)
        self.assertEqual(pipe([{"role": "user", "content": "Hi"}], gen_config=short).input_token_len, len("U:HiA:") + 1)

    def test_turns_of_a_session(self) -> None:
        pipe = self.load(ChatTemplateConfig(user="U:", eoh=";", assistant="A:", eoa="$", separator=";"))
        with pipe.session(GenerationConfig(max_new_tokens=3)) as session:
            pipe.chat("Hi", session=session)
            self.assertEqual(session.response.input_token_len, len("U:Hi;A:") + 1)
            pipe.chat("Bye", session=session)
            self.assertEqual(session.response.input_token_len, len("$;U:Bye;A:"))

    def test_a_server_has_it(self) -> None:
        config = ChatTemplateConfig(user="U:", eoh=";", assistant="A:", meta_instruction="M", system="S:")
        expected = self.load(config)("Hi", gen_config=GenerationConfig(max_new_tokens=4))
        with ingot.serve(self.model, "m", backend_config=CONFIG, chat_template_config=config, server_name="127.0.0.1", server_port=0) as server:
            (answer,) = server.chat_completions_v1("m", "Hi", max_tokens=4, temperature=0)
        self.assertEqual(answer["usage"]["prompt_tokens"], expected.input_token_len)
        self.assertEqual(answer["choices"][0]["message"]["content"], expected.text)

    def test_what_cannot_be_is_named(self) -> None:
        for config, kind, message in (
            (ChatTemplateConfig("llama2", user="U:"), errors.Unsupported, "user: the template llama2 is not made of pieces"),
            (ChatTemplateConfig(__file__, eoa="$"), errors.Unsupported, "eoa: the template"),
            (ChatTemplateConfig(capability="infilling"), errors.Unsupported, "capability 'infilling'"),
            (ChatTemplateConfig(capability="talk"), errors.InvalidArgument, "capability 'talk'"),
            (ChatTemplateConfig(user=5), errors.InvalidArgument, "user is int"),
            (ChatTemplateConfig(stop_words="x"), errors.InvalidArgument, "stop_words"),
            (ChatTemplateConfig("no such template"), errors.InvalidArgument, "no such template"),
        ):
            with self.subTest(message), self.assertRaises(kind) as caught:
                self.load(config)
            self.assertIn(message, str(caught.exception))
        for config, message in ((ChatTemplateConfig(stop_words=["x"]), "stop_words"), (ChatTemplateConfig(capability="completion"), "capability")):
            with self.subTest(message), self.assertRaisesRegex(errors.Unsupported, message):
                ingot.serve(self.model, chat_template_config=config)
        for given, kind in (("{", errors.InvalidFile), ('{"user": 1, "usr": "x"}', errors.InvalidArgument), ("/nonexistent.json", errors.NotFound)):
            with self.subTest(given), self.assertRaises(kind):
                ChatTemplateConfig.from_json(given)


if __name__ == "__main__":
    unittest.main()
