"""Invented people and companies for `qa_syn_1` (one hop) and `qa_syn_2` (two hops)."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal

from modelgraft.methods.star_attention.world.questions import Question, QuestionSet
from modelgraft.methods.star_attention.world.words import ADJECTIVES, NOUNS

FIRST_NAMES = tuple(
    """
Ada Agnes Albert Alma Amos Anders Anton Astrid Basil Beatrix Boris Bruno Camille Casper Cecily
Clara Conrad Cora Cyrus Dagmar Daphne Dora Edgar Edith Elias Elsa Emil Esther Ezra Felix Flora
Freya Gideon Greta Gustav Hanna Harold Hazel Hector Helga Hugo Ida Igor Ingrid Iris Ivan Jasper
Joan Jonas Judith Klara Lena Leopold Lionel Lydia Magnus Marta Matilda Milo Mona Nadia Nestor Nora
Olga Oscar Otto Pascal Petra Philip Quentin Rafael Rhoda Rita Roland Rosa Rufus Selma Silas Sofia
Stella Sylvia Tamara Theo Thora Tobias Ursula Vera Victor Viola Walter Wanda Wilma Xavier Yvonne
Zelda
""".split()
)
LAST_NAMES = tuple(
    """
Abernathy Alcott Ashdown Barlowe Bexley Blackwood Bramwell Brockhurst Calloway Cavendish Chadwick
Colville Crawford Cromwell Dalrymple Danforth Davenport Drummond Eastwick Ellsworth Fairbanks
Fenwick Fitzroy Galbraith Garrick Goodwin Hadley Halloran Hargrove Hathaway Holloway Huxley
Inglewood Jarrett Kavanagh Kensington Kirkland Lancaster Langford Lindqvist Lockwood Lovelace
MacAllister Marchetti Merriweather Montague Moorcroft Norwood Oakhurst Osgood Pemberton Penhallow
Prescott Quimby Radcliffe Ravenscroft Redfern Rockwell Rutherford Sandoval Sheffield Silverton
Somerset Stanhope Sutherland Tattersall Thackeray Thornbury Trelawney Underhill Vandermeer
Wainwright Wakefield Westbrook Whitlock Winthrop Wolcott Yardley Zimmermann
""".split()
)
TOWNS = tuple(
    """
Ardenmoor Belhaven Brackwater Caldermere Carnwick Dunmarrow Eastholm Elderby Farrowdale Fennimoor
Glenharrow Greystead Harkness Hollowmere Inverleith Kelsworth Kingsfold Larkhollow Lindenau
Lowmarsh Marrowgate Millbrook Northmere Oakenshaw Ostervale Pellham Quarrington Ravensby Rookhaven
Saltmarsh Silverlake Stonebridge Tarnwick Thistlecombe Umberleigh Velmont Westerlund Wexcombe
Windermoor Yarrowford
""".split()
)
JOBS = tuple(
    """
accountant architect astronomer baker bookbinder botanist carpenter cartographer chemist
clockmaker composer dentist draughtsman editor electrician gardener geologist glassblower
historian interpreter jeweller journalist lawyer librarian locksmith mathematician mechanic nurse
optician painter photographer physician pilot plumber potter printer sculptor shipwright surveyor
tailor teacher translator veterinarian watchmaker weaver welder zoologist
""".split()
)

_PEOPLE_PER_COMPANY = 3
Hops = Literal[1, 2]


def biographies(num_documents: int, hops: Hops, seed: int) -> QuestionSet:
    """About `num_documents` short documents on distinct people and companies, with one question.

    One hop asks for a fact in one biography; two hops ask for the town of a person's employer,
    which stands only in the employer's document. There are at most as many people as names.
    """
    rng = random.Random(seed)
    num_people = min(max(num_documents * 3 // 4, 4), len(FIRST_NAMES) * len(LAST_NAMES))
    num_companies = num_people // _PEOPLE_PER_COMPANY
    names = rng.sample(range(len(FIRST_NAMES) * len(LAST_NAMES)), num_people)
    titles = rng.sample(range(len(ADJECTIVES) * len(NOUNS)), num_companies)
    companies = [_company_name(title) for title in titles]
    seats = [rng.choice(TOWNS) for _ in companies]
    people = [_draw_person(name, companies, rng) for name in names]
    seat = seats[companies.index(people[0].company)]
    if people[0].town == seat:  # Else the birthplace would answer a two-hop question.
        people[0] = replace(people[0], town=TOWNS[(TOWNS.index(seat) + 1) % len(TOWNS)])
    asked = people[0]
    documents = [person.text() for person in people]
    documents += [
        f"{company} is a company with its head office in {town}."
        for company, town in zip(companies, seats, strict=True)
    ]
    if hops == 1:
        question = asked.question(rng)
    else:
        employer = num_people + companies.index(asked.company)
        question = Question(
            f"In which town is the head office of the company that employs {asked.name}?",
            (seat,),
            (0, employer),
        )
    return QuestionSet("the supply of invented people", tuple(documents), (question,))


@dataclass(frozen=True)
class _Person:
    """One invented life."""

    name: str
    town: str
    job: str
    company: str
    born: int
    joined: int

    def text(self) -> str:
        """The biography: birthplace, job, employer and two years."""
        article = "an" if self.job[0] in "aeiou" else "a"
        return (
            f"{self.name} was born in {self.town} in {self.born}, trained as {article} {self.job}, "
            f"and joined {self.company} in {self.joined}."
        )

    def question(self, rng: random.Random) -> Question:
        """A question on one of the facts, drawn at random."""
        text, answer = rng.choice(
            (
                (f"In which town was {self.name} born?", self.town),
                (f"What profession did {self.name} train for?", self.job),
                (f"Which company did {self.name} join?", self.company),
                (f"In which year did {self.name} join a company?", str(self.joined)),
            )
        )
        return Question(text, (answer,), (0,))


def _draw_person(name: int, companies: list[str], rng: random.Random) -> _Person:
    first, last = divmod(name, len(LAST_NAMES))
    born = rng.randint(1900, 1960)
    return _Person(
        f"{FIRST_NAMES[first]} {LAST_NAMES[last]}",
        town=rng.choice(TOWNS),
        job=rng.choice(JOBS),
        company=rng.choice(companies),
        born=born,
        joined=born + rng.randint(18, 40),
    )


def _company_name(number: int) -> str:
    adjective, noun = divmod(number, len(NOUNS))
    return f"{ADJECTIVES[adjective].title()} {NOUNS[noun].title()} Works"
