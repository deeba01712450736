"""What a model may spend on one investigation, what it has spent, and what it has asked and could not know."""

from dataclasses import dataclass, field

from libs.contracts.investigation import InvestigationStep
from libs.errors import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one investigation may spend, over all servers.

    Attributes:
        seconds: Wall clock from the start of the first server to the answer.
        model_calls: Calls of the model.
        tool_calls: Calls of tools.
        tokens: Input and output tokens of all calls, as the provider counts them.
        characters: Characters of all answers of tools.
        answer_characters: Characters of one answer.
        connect_s: Longest wait for the servers to start and list their tools.
        call_s: Longest wait for one answer of a tool.
    """

    seconds: float
    model_calls: int = 12
    tool_calls: int = 20
    tokens: int = 200_000
    # A token is about four characters: beside the prompt this is at most three quarters of the tokens.
    characters: int = 160_000
    answer_characters: int = 12_000
    connect_s: float = 20.0  # three servers that start at once on two busy cores took 8 s
    call_s: float = 20.0


class BudgetSpent(Unavailable):
    """The model has used up its calls, tokens, characters or time."""


@dataclass(slots=True, kw_only=True)
class Spending:
    """One investigation's account; it outlives a run that fails.

    Attributes:
        budget: What may be spent.
        ends_s: When the time is up, on the timer of the caller.
        tool_calls: Calls of tools so far.
        characters: Characters of answers so far.
        steps: What was asked, in order.
        gaps: What could not be known, each once.
    """

    budget: Budget
    ends_s: float
    tool_calls: int = 0
    characters: int = 0
    steps: list[InvestigationStep] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def gap(self, text: str) -> None:
        """Note what could not be known."""
        if text not in self.gaps:
            self.gaps.append(text)

    def take_call(self) -> str:
        """Count a call of a tool; why it may not be made, "" when it may."""
        if self.tool_calls >= self.budget.tool_calls:
            return f"{self.budget.tool_calls} calls of tools were made, no more are allowed: give your answer"
        if self.characters >= self.budget.characters:
            return f"{self.characters} characters were read, no more are allowed: give your answer"
        self.tool_calls += 1
        return ""

    def take_text(self, characters: int) -> int:
        """How many characters of an answer may be shown; they are counted."""
        shown = min(characters, self.budget.answer_characters, max(self.budget.characters - self.characters, 0))
        self.characters += shown
        return shown
