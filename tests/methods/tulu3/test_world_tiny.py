"""The tokenizer and the models of tinychat as ordinary folders of transformers."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from modelgraft.methods.tulu3.tiny import CHARACTERS, build_tokenizer, tiny_config
from modelgraft.methods.tulu3.world.tasks import CONTEXT, draw_task

CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": " Say  owl\n2 times. "},
    {"role": "assistant", "content": "owl owl"},
    {"role": "user", "content": "<eos> ~"},
]
RENDERED = (
    "<|system|>\nBe kind.\n<|user|>\n Say  owl\n2 times. \n<|assistant|>\nowl owl<eos>\n"
    "<|user|>\n<eos> ~\n<|assistant|>\n"
)


def test_the_template_is_the_one_of_tulu_character_by_character():
    tokenizer = build_tokenizer()
    assert tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True) == (
        RENDERED
    )
    last = tokenizer.apply_chat_template(CHAT[:3], tokenize=False)
    assert last.endswith("<|assistant|>\nowl owl<eos>")


def test_a_token_is_a_character_and_decoding_gives_the_text_back():
    tokenizer = build_tokenizer()
    text = "".join(CHARACTERS) + "  a , b .\n\n"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text) and len(set(ids)) == len(CHARACTERS)
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids
    assert tokenizer("\u00e9a")["input_ids"] == [tokenizer.unk_token_id, ids[1 + ord("a") - 32]]
    assert tokenizer.bos_token is None
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3


def test_a_saved_tokenizer_comes_back_the_same(tmp_path):
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.apply_chat_template(CHAT) == tokenizer.apply_chat_template(CHAT)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.chat_template == tokenizer.chat_template
    assert again.special_tokens_map == tokenizer.special_tokens_map
    assert again.model_max_length == CONTEXT
    ids = tokenizer(RENDERED)["input_ids"]
    assert again.decode(ids) == tokenizer.decode(ids) == RENDERED


@pytest.mark.parametrize(("size", "millions"), [("nano", 0.158), ("tiny", 0.453)])
def test_a_model_is_a_stock_llama_of_its_size_that_reloads(tmp_path, size, millions):
    config = tiny_config(size)
    model = LlamaForCausalLM(config).eval()
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.001
    )
    tokenizer = build_tokenizer()
    assert config.vocab_size % 8 == 0 and 0 <= config.vocab_size - len(tokenizer) < 8
    assert (config.pad_token_id, config.eos_token_id) == (
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
    )
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2_000_000
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    task = draw_task("sums", "train", 0)
    ids = tokenizer.apply_chat_template(task.messages(task.answer), return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(model(**ids).logits, again(**ids).logits)
