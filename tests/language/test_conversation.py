"""Conversations as samples: what is learned is what the assistant said, to the token."""

from __future__ import annotations

import os
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from modelgraft.core import store
from modelgraft.core.errors import InputError
from modelgraft.language.conversation import (
    TULU_TEMPLATE,
    check_conversation,
    resize_embeddings,
    set_chat_template,
    tokenise_conversation,
    tokenise_prompt,
)
from modelgraft.language.packing import IGNORED

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Nothing ends an answer but the next speaker, who is a control token.
NO_EOS = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMING = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}[A]\n\n{{ m['content'] | trim }}"
    "{{ eos_token }}{% else %}[U]\n\n{{ m['content'] | trim }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[A]\n\n{% endif %}"
)
TEMPLATES = {"tulu": TULU_TEMPLATE, "chatml": CHATML, "no_eos": NO_EOS, "trimming": TRIMMING}
ENDINGS = {"tulu": "</s>", "chatml": "<|im_end|>", "no_eos": "", "trimming": "</s>"}
CONTROLS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def make_tokenizer(texts: list[str] = (), *, trim_offsets: bool = True) -> Any:
    """A byte-level tokenizer; without texts to learn merges from, one token a byte."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.post_processor = tokenizers.processors.ByteLevel(trim_offsets=trim_offsets)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=CONTROLS,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=CONTROLS[2:],
    )


WORDS = ["what is the answer to the question", "the answer is this, not that.", "    indented"]
BYTES = make_tokenizer()
PIECES = {trim: make_tokenizer(WORDS * 4, trim_offsets=trim) for trim in (True, False)}


def turns(*contents: str, system: str = "") -> list[dict[str, str]]:
    """User and assistant in turn, after the system's word if there is one."""
    roles = ("user", "assistant")
    head = [{"role": "system", "content": system}] if system else []
    return head + [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]


def render(tokenizer: Any, messages: list[dict[str, str]], prompt: bool = False) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)


def stock_ids(tokenizer: Any, messages: list[dict[str, str]], prompt: bool = False) -> list[int]:
    return tokenizer.apply_chat_template(messages, add_generation_prompt=prompt)["input_ids"]


def learned(tokenizer: Any, sample: Any) -> str:
    assert all(label in (id, IGNORED) for id, label in zip(*sample, strict=True))
    return tokenizer.decode([label for label in sample.labels if label != IGNORED])


# -- the Tulu format -------------------------------------------------------------------------------

FORMS = [
    (turns("Hi"), False, "<|user|>\nHi\n"),
    (turns("Hi"), True, "<|user|>\nHi\n<|assistant|>\n"),
    (turns("Hi", "Yo"), False, "<|user|>\nHi\n<|assistant|>\nYo</s>"),
    (
        turns("Hi", "Yo", "And?", "No.", system="Be brief."),
        False,
        "<|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\nYo</s>\n"
        "<|user|>\nAnd?\n<|assistant|>\nNo.</s>",
    ),
    (
        turns("Hi", "Yo", "And?"),
        True,
        "<|user|>\nHi\n<|assistant|>\nYo</s>\n<|user|>\nAnd?\n<|assistant|>\n",
    ),
    (turns(" a\n", "\n b "), False, "<|user|>\n a\n\n<|assistant|>\n\n b </s>"),
]


@pytest.mark.parametrize(("messages", "prompt", "text"), FORMS)
def test_the_tulu_template_renders_byte_for_byte_also_after_saving(
    messages, prompt, text, tmp_path
):
    """Acceptance 1."""
    tokenizer = make_tokenizer()
    set_chat_template(tokenizer)
    assert render(tokenizer, messages, prompt) == text
    tokenizer.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert render(again, messages, prompt) == text
    assert again.pad_token == "<pad>" and again.pad_token_id == tokenizer.pad_token_id


def test_a_shorter_conversation_is_a_prefix_up_to_the_line_feed_after_an_answer():
    set_chat_template(BYTES)
    messages = turns("a", "b", "c", "d", system="s")
    for k in range(1, len(messages)):
        short, longer = render(BYTES, messages[:k]), render(BYTES, messages[: k + 1])
        is_answer = messages[k - 1]["role"] == "assistant"
        assert longer.startswith(short + ("\n" if is_answer else ""))


def test_the_template_refuses_a_role_it_has_no_tag_for():
    set_chat_template(BYTES)
    with pytest.raises(Exception, match="unknown role"):
        render(BYTES, [{"role": "user|>\n<|assistant", "content": "x"}])


@pytest.mark.parametrize("pad", [None, "</s>"])
def test_padding_gets_a_token_of_its_own(pad):
    tokenizer = make_tokenizer()
    tokenizer.pad_token = pad
    set_chat_template(tokenizer)
    assert tokenizer.pad_token == "<pad>" and tokenizer.pad_token_id != tokenizer.eos_token_id
    before = len(tokenizer)
    set_chat_template(tokenizer)
    assert len(tokenizer) == before


def test_a_padding_token_that_is_there_is_kept():
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<|im_start|>"
    set_chat_template(tokenizer)
    assert tokenizer.pad_token == "<|im_start|>"


def test_a_tokenizer_that_cannot_end_an_answer_is_refused():
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="no end-of-text token"):
        set_chat_template(tokenizer)


def tiny_llama(rows: int, *, tied: bool) -> Any:
    config = transformers.LlamaConfig(
        vocab_size=rows,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_come_in_eights_and_start_as_the_mean_of_the_others(tied):
    tokenizer = make_tokenizer()
    model = tiny_llama(len(tokenizer), tied=tied)
    set_chat_template(tokenizer)
    before = [e.weight.detach().clone() for e in (model.model.embed_tokens, model.lm_head)]
    resize_embeddings(model, tokenizer)
    after = [model.model.embed_tokens.weight, model.lm_head.weight]
    for old, new in zip(before, after, strict=True):
        assert len(new) % 8 == 0 and len(new) - 8 < len(tokenizer) <= len(new)
        assert torch.equal(new[: len(old)], old)
        assert torch.allclose(new[len(old) :], old.mean(0).expand(len(new) - len(old), -1))
    assert (after[0] is after[1]) == tied
    assert model.config.vocab_size == len(after[0])
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id


def test_the_rule_gives_llama_3_the_published_number_of_rows():
    assert -(-(128_256 + 1) // 8) * 8 == 128_264


def test_a_model_with_enough_rows_keeps_its_weights():
    tokenizer = make_tokenizer()
    model = tiny_llama(1000, tied=False)
    weight = model.model.embed_tokens.weight
    set_chat_template(tokenizer)
    resize_embeddings(model, tokenizer)
    assert model.model.embed_tokens.weight is weight


# -- labels ----------------------------------------------------------------------------------------

CHATS = {
    "one turn": turns("what is it", "the answer is this"),
    "two turns": turns("what", "the answer", "is that the answer", "not that."),
    "three turns": turns("a", "b", "c", "d", "e", "f", system="the question is this"),
    "four turns": turns(
        "a", "is    indented    twice", "b", "is\n\nit", "c", "d", "e", "this, not"
    ),
    "five turns": turns(*"abcdefghij"),
    "six turns": turns(*"abcdefghijkl", system="."),
    "other letters": turns(
        "\u00bfqu\u00e9?", "el answer es ni\u00f1o \U0001f600, \u7b54\u3048", "ok", "\U0001f600"
    ),
    "two questions": [*turns("what", "this"), *turns("is"), *turns("the answer", "not that.")],
    "empty answer": turns("what", "", "is", "it"),
}
# A template's own words in a content do not fool the search for the answers.
SPOOFS = {
    "markup": turns("[A]\n\n<|user|>\nx\n<|assistant|>", "<|user|>\nhi", "[U]", "assistant: y"),
    "marks": turns("\ue0000.1\ue001\ue000", "\ue0001.0\ue001 x \ue0000.0\ue001", "\ue001", "a"),
}


def slow_labels(tokenizer: Any, messages: list[dict[str, str]], ending: str) -> list[int]:
    """Two renders a message: an answer begins where the tokens of its prompt end."""
    ids = stock_ids(tokenizer, messages)
    labels = [IGNORED] * len(ids)
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            place = start = len(stock_ids(tokenizer, messages[:index], prompt=True))
            while tokenizer.decode(ids[start:place]) != message["content"] + ending:
                labels[place] = ids[place]
                place += 1
    return labels


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("tokenizer", [BYTES, *PIECES.values()], ids=["bytes", "trim", "keep"])
def test_ids_are_the_stock_ones_and_labels_those_of_the_slow_way(name, tokenizer):
    """Acceptance 2."""
    tokenizer.chat_template = TEMPLATES[name]
    for messages in (CHATS | SPOOFS).values():
        sample = tokenise_conversation(tokenizer, messages, 10_000)
        assert sample.ids == stock_ids(tokenizer, messages)
        assert sample.labels == slow_labels(tokenizer, messages, ENDINGS[name])


def test_labels_are_those_of_the_librarys_own_marks():
    training = TULU_TEMPLATE.replace(
        "{{ '<|' + message['role'] + '|>\\n' + message['content'] }}",
        "{{ '<|' + message['role'] + '|>\\n' }}{% if message['role'] == 'assistant' %}"
        "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
        "{% else %}{{ message['content'] }}{% endif %}",
    ).replace("{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}", "")
    assert training.count("eos_token") == 1
    tokenizer = PIECES[False]
    for messages in CHATS.values():
        tokenizer.chat_template = training
        found = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True)
        tokenizer.chat_template = TULU_TEMPLATE
        sample = tokenise_conversation(tokenizer, messages, 10_000)
        assert sample.ids == found["input_ids"]
        mask = [label != IGNORED for label in sample.labels]
        assert mask == [mark == 1 for mark in found["assistant_masks"]]


@pytest.mark.parametrize("name", TEMPLATES)
def test_truncation_cuts_ids_and_labels_from_the_right_inside_any_turn(name):
    BYTES.chat_template = TEMPLATES[name]
    messages = turns("one", "two", "three", "four", system="zero")
    whole = tokenise_conversation(BYTES, messages, 10_000)
    for length in range(1, len(whole.ids) + 2):
        cut = tokenise_conversation(BYTES, messages, length)
        assert cut.ids == whole.ids[:length] and cut.labels == whole.labels[:length]


def test_a_cut_before_the_first_answer_leaves_no_label():
    BYTES.chat_template = TULU_TEMPLATE
    assert set(tokenise_conversation(BYTES, turns("long question", "x"), 12).labels) == {IGNORED}


SPELLED = turns("</s><s> what", "the</s> answer", "<|im_end|>", "is</s>", system="<|im_start|>")


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("tokenizer", [BYTES, *PIECES.values()], ids=["bytes", "trim", "keep"])
def test_control_tokens_spelled_in_a_content_stay_text(name, tokenizer):
    tokenizer.chat_template = TEMPLATES[name]
    sample = tokenise_conversation(tokenizer, SPELLED, 10_000)
    tame = [{**m, "content": m["content"].replace("s", "x").replace("i", "y")} for m in SPELLED]
    controls = [id for id in sample.ids if id < len(CONTROLS)]
    assert controls == [id for id in stock_ids(tokenizer, tame) if id < len(CONTROLS)]
    assert tokenizer.decode(sample.ids) == render(tokenizer, SPELLED)
    ending = ENDINGS[name]
    assert learned(tokenizer, sample) == f"the</s> answer{ending}is</s>{ending}"


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("tokenizer", [BYTES, *PIECES.values()], ids=["bytes", "trim", "keep"])
def test_a_prompt_is_the_stock_one_whose_controls_in_contents_stay_text(name, tokenizer):
    tokenizer.chat_template = TEMPLATES[name]
    for messages in (CHATS | SPOOFS).values():
        prompt = messages[:-1]
        assert tokenise_prompt(tokenizer, prompt) == stock_ids(tokenizer, prompt, prompt=True)
    ids = tokenise_prompt(tokenizer, SPELLED[:-1])
    tame = [{**m, "content": m["content"].replace("s", "x").replace("i", "y")} for m in SPELLED]
    expected = stock_ids(tokenizer, tame[:-1], prompt=True)
    assert [one for one in ids if one < 4] == [one for one in expected if one < 4]


def test_a_prompt_that_no_answer_can_follow_is_refused():
    BYTES.chat_template = TULU_TEMPLATE
    with pytest.raises(InputError, match="row 3: message 3 of 3: a second assistant turn"):
        tokenise_prompt(BYTES, turns("what", "this"), row="row 3")


CONTENT = st.text(
    st.sampled_from([*"ab \n\t<>|/s0.1\u00e9\U0001f600\ue000\ue001"]), max_size=12
) | (st.sampled_from([*CONTROLS, "<|user|>\n", "[A]\n\n", "  \n", "\ue0000.0\ue001"]))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(CONTENT, CONTENT), min_size=1, max_size=6), st.sampled_from([*TEMPLATES]))
def test_what_is_learned_is_what_the_assistant_said(pairs, name):
    """Any contents, also white space, control tokens, markup and marks of our own kind."""
    BYTES.chat_template = TEMPLATES[name]
    messages = turns(*(text for pair in pairs for text in pair))
    sample = tokenise_conversation(BYTES, messages, 10_000)
    assert BYTES.decode(sample.ids) == render(BYTES, messages)
    contents = [answer.strip() if name == "trimming" else answer for _, answer in pairs]
    assert learned(BYTES, sample) == "".join(text + ENDINGS[name] for text in contents)


def test_a_trimmed_content_never_reaches_into_white_space_of_the_markup():
    BYTES.chat_template = TRIMMING
    sample = tokenise_conversation(BYTES, turns("\n\nq", "\n\n x \n"), 100)
    assert learned(BYTES, sample) == "x</s>"


@pytest.mark.parametrize("trim", PIECES)
def test_a_token_that_is_the_answers_only_in_part_is_learned(trim):
    """The model writes it whole: its prompt ends before the space."""
    PIECES[
        trim
    ].chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %}"
    sample = tokenise_conversation(PIECES[trim], turns("is it.", "the answer"), 100)
    assert learned(PIECES[trim], sample) == " the answer"


def test_a_conversation_is_rendered_once_whatever_its_length(monkeypatch):
    calls = []
    stock = type(BYTES).apply_chat_template
    monkeypatch.setattr(
        type(BYTES),
        "apply_chat_template",
        lambda self, *a, **k: calls.append(1) or stock(self, *a, **k),
    )
    BYTES.chat_template = TULU_TEMPLATE
    for number in (1, 6):
        calls.clear()
        tokenise_conversation(BYTES, turns(*(["q", "a"] * number)), 1000)
        assert len(calls) == 1


def test_a_sentencepiece_like_tokenizer_works_too():
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = tokenizers.decoders.Metaspace(prepend_scheme="first")
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=120, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    backend.train_from_iterator([*WORDS, "[INST] [/INST]", "\n"] * 4, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ bos_token }}[INST] {{ m['content'] }}"
        " [/INST]{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
    )
    sample = tokenise_conversation(tokenizer, turns("what", "the answer", "is", "this"), 100)
    assert sample.ids == stock_ids(tokenizer, turns("what", "the answer", "is", "this"))
    assert learned(tokenizer, sample).replace(" ", "") == "theanswer</s>this</s>"


@pytest.fixture(scope="module")
def smollm() -> Any:
    folder = store.folder_of("smollm")
    if folder is None:
        wanted = "the embedded model is not built; run: modelgraft models get smollm"
        pytest.fail(wanted) if os.environ.get("CI") == "true" else pytest.skip(wanted)
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_smollm_and_its_own_template_give_the_labels_of_the_slow_way(smollm):
    for messages in (CHATS | SPOOFS).values():
        sample = tokenise_conversation(smollm, messages, 10_000)
        assert sample.ids == stock_ids(smollm, messages)
        assert sample.labels == slow_labels(smollm, messages, "<|im_end|>")


# -- bad input -------------------------------------------------------------------------------------

BAD = [
    ([], "the conversation is empty"),
    (turns("q"), "last message is the user's"),
    ([*turns("q", "a"), {"role": "system", "content": "s"}], "last message is the system's"),
    ([*turns("q", "a"), {"role": "assistant", "content": "b"}], "message 3 of 3: a second"),
    ([{"role": "tool", "content": "x"}, *turns("q", "a")], "message 1 of 3: unknown role 'tool'"),
    ([{"role": "user"}], "message 1 of 1: a message needs a role and a content"),
    (["hello"], "message 1 of 1: a message needs"),
    ([{"role": "user", "content": [{"type": "text"}]}], "content is of type list"),
    ([{"role": "user", "content": None}], "content is of type NoneType"),
]


@pytest.mark.parametrize(("messages", "what"), BAD)
def test_a_bad_conversation_is_refused_by_row_and_message(messages, what):
    with pytest.raises(InputError, match=rf"^chats\.jsonl:7: .*{what}"):
        check_conversation(messages, row="chats.jsonl:7")
    BYTES.chat_template = TULU_TEMPLATE
    with pytest.raises(InputError, match=f"^(?!chats).*{what}"):
        tokenise_conversation(BYTES, messages, 10)


REFUSED = [
    ("{% for m in messages %}{{ m['content'].split('.')[-1] }}{% endfor %}", "changes message 2"),
    ("{% for m in messages %}{{ m['content'] }}{{ m['content'] }}{% endfor %}", "changes message"),
    ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "changes message 2"),
    ("{{ messages[1]['content'] }}{{ messages[0]['content'] }}", ""),
    ("{{ raise_exception('only poems') }}", "only poems"),
    ("{% for m in messages %}{{ m['content'].lstrip('\n') }}{% endfor %}", "white space"),
]


@pytest.mark.parametrize(("template", "what"), REFUSED)
def test_a_template_that_hides_the_answers_is_refused_and_not_guessed(template, what):
    BYTES.chat_template = template
    if not what:
        assert learned(BYTES, tokenise_conversation(BYTES, turns("q", "ans"), 99)) == "ans"
        return
    with pytest.raises(InputError, match=rf"^row 3: .*{what}"):
        tokenise_conversation(BYTES, turns("\n q", "ans"), 99, row="row 3")


def test_a_tokenizer_without_a_template_or_offsets_is_refused():
    BYTES.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        tokenise_conversation(BYTES, turns("q", "a"), 9)
    plain = transformers.ByT5Tokenizer(chat_template=TULU_TEMPLATE)
    with pytest.raises(InputError, match="ByT5Tokenizer does not say which characters"):
        tokenise_conversation(plain, turns("q", "a"), 9)
