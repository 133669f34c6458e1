r"""What a tree search decides by: two policies, and how far it widens.

Inside the tree the *tree policy* picks the edge with the best score; outside of it the
*default policy* rolls out to the horizon, or a value function is asked instead. Chance
has its say where an edge has several outcomes. A `Search` is all these on one problem.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from forethought.core.given.settings import (
    AbstractSettings,
    Nonnegative,
    Positive,
    Share,
    Whole,
)
from forethought.core.spaces import Box
from forethought.core.types import Action
from forethought.planners.tree.arrays import Description, Tree, belief_at, means, same
from forethought.problem import Problem


class Widening(AbstractSettings):
    r"""How many children may be tried: $\min(\text{limit}, \lceil k N^\alpha \rceil)$.

    Args:
        limit: Never more than these; memory is kept for all of them.
        scale: $k$, which is how many are tried at the first visit.
        power: $\alpha$, in [0, 1]: how fast they grow with the visits $N$.

    Raises:
        ValueError: A setting lies outside its range.

    References:
        Couëtoux, Hoock, Sokolovska, Teytaud and Bonnard, Continuous upper confidence
        trees, 2011, §3 (progressive widening of actions, and of outcomes: double).
    """

    limit: Whole = eqx.field(static=True, default=0)
    scale: Positive = 1.0
    power: Share = 0.5

    def __call__(self, visits: Int[Array, ""], dtype: DTypeLike) -> Int[Array, ""]:
        """How many children a node or an edge of so many visits may have."""
        grown = jnp.maximum(visits, 1).astype(dtype) ** self.power
        allowed = jnp.ceil(self.scale * grown).astype(visits.dtype)
        return jnp.clip(allowed, 1, self.limit)


class TreePolicy(AbstractSettings):
    r"""Which edge to follow inside the tree: the best score.

    By default the mean return $Q / N$ counts as a share of the range of all means that
    were met in the tree,

    $$\bar Q = \frac{Q / N - \min}{\max - \min},$$

    so that a search does not depend on the scale of rewards.

    "uct", where an action that was not tried yet goes first:

    $$\operatorname{Score}(s_t) = \frac{Q(s_t)}{N(s_t)}
      + 2 C \sqrt{\frac{2 \ln N(s_{t-1})}{N(s_t)}}$$

    "puct", where an action that was not tried yet has the mean value of its node:

    $$\operatorname{Score}(s_t) = \frac{Q(s_t)}{N(s_t)}
      + C P(a_{t-1} \mid s_{t-1}) \frac{\sqrt{N(s_{t-1})}}{1 + N(s_t)}$$

    Args:
        exploration: $C$, in units of the range, or of the return if not normalised.
        score: Which of the two.
        normalise: Whether $\bar Q$ takes the place of $Q / N$.
        prior: For "puct", from a belief to the logits of $P$; uniform by default.

    Raises:
        ValueError: The score is unknown, or a prior is given to "uct".

    References:
        Kocsis and Szepesvári, Bandit based Monte-Carlo planning, 2006, §2.2; Browne et
        al., A survey of Monte Carlo tree search methods, 2012, §3.3.1, whose $C_p$ is
        $C$. Silver et al., Mastering the game of Go without human knowledge, 2017,
        methods, "Search algorithm" (PUCT). Schrittwieser et al., Mastering Atari, Go,
        chess and shogi by planning with a learned model, 2020, arXiv:1911.08265, eq. 5
        (the range in the tree).

    Note:
        Theory asks for $C = 1 / \sqrt 2$ where returns fill [0, 1]. The default is
        half of that: means of the leaves make the range of a tree wider than that of
        the choices within it.
    """

    exploration: Nonnegative = 0.35
    score: Literal["uct", "puct"] = eqx.field(static=True, default="uct")
    normalise: bool = eqx.field(static=True, default=True)
    prior: Callable[[PyTree], Float[Array, " choice"]] | None = None

    def __check_init__(self):
        if self.prior is not None and self.score == "uct":
            raise ValueError(
                "TreePolicy needs score 'puct' to use a prior, got score 'uct'."
            )

    def __call__(
        self,
        tree: Tree,
        node: Int[Array, ""],
        open_slots: Bool[Array, " slot"],
        first: Int[Array, ""],
    ) -> Int[Array, ""]:
        """The edge to follow; ties go to the first open one from `first` on, around."""
        N, Q = tree.edge_visits[node], means(tree, node)
        kind, slots = Q.dtype, N.shape[0]
        parent, C = tree.visits[node].astype(kind), jnp.asarray(self.exploration, kind)
        visited, count = N > 0, N.astype(kind)
        if self.normalise:
            span = tree.high - tree.low
            Q = jnp.where(span > 0, (Q - tree.low) / jnp.where(span > 0, span, 1), 0)
        if self.score == "uct":
            rarity = jnp.sqrt(2 * jnp.log(jnp.maximum(parent, 1)))
            scores = Q + 2 * C * rarity * jax.lax.rsqrt(jnp.maximum(count, 1))
            scores = jnp.where(visited, scores, jnp.inf)
        else:
            mean = jnp.sum(count * Q) / jnp.maximum(jnp.sum(count), 1)
            prior = tree.about.prior
            P = jnp.asarray(1 / slots, kind) if prior is None else prior[node]
            scores = jnp.where(visited, Q, mean)
            scores = scores + C * P * jnp.sqrt(parent) / (1 + count)
        scores = jnp.where(open_slots, scores, -jnp.inf)
        best = open_slots & (scores >= jnp.max(scores))
        index = jnp.arange(slots, dtype=node.dtype)
        behind = index - first
        behind = jnp.where(behind < 0, behind + slots, behind)
        nearest = jnp.min(jnp.where(best, behind, slots)) + first
        nearest = jnp.where(nearest >= slots, nearest - slots, nearest)
        return jnp.clip(nearest, 0, slots - 1)


class DefaultPolicy(AbstractSettings):
    r"""What a leaf is worth: the mean return of roll-outs from there to the horizon.

    $$V(s_l) \approx \frac1R \sum_{i=1}^R \sum_{t=l}^{H-1} \gamma_{i,t} r_{i,t}
      + \gamma_{i,H} V_{\text{objective}}(s_{i,H})$$

    Args:
        rollouts: $R$, side by side (leaf-parallel); 0 takes the objective's value of
            the leaf itself, such as a value function that was learned.
        policy: From a belief and a key to an action; uniform over what is legal by
            default. It also fills up the plan beyond the tree, and where actions are
            continuous it is the first one tried at a node.

    Raises:
        ValueError: A setting lies outside its range.
    """

    rollouts: Whole = eqx.field(static=True, default=1)
    policy: Callable[[PyTree, PRNGKeyArray], Action] | None = None

    def __call__(
        self, problem: Problem, belief: PyTree, *, key: PRNGKeyArray
    ) -> Action:
        """An action from outside of the tree."""
        if self.policy is not None:
            return self.policy(belief, key)
        space = problem.action
        if isinstance(space, Box):
            return space.sample(key=key).astype(problem.value(belief).dtype)
        if problem.legal is None:
            return space.sample(key=key)
        legal = problem.legal(belief)
        rank = jnp.cumsum(legal) - 1
        count = jnp.maximum(jnp.sum(legal), 1)
        return jnp.argmax(legal & (rank == jax.random.randint(key, (), 0, count)))


class Search(eqx.Module):
    """A planner's settings on one problem; methods act on one tree.

    Args:
        problem: Model and objective.
        tree_policy: Which edge to follow.
        default_policy: What a leaf is worth.
        widening: Of continuous actions.
        chance: Of outcomes.
        horizon: Depth of a leaf that is not expanded.
        open_loop: Whether nodes are sequences of actions instead of situations.
    """

    problem: Problem
    tree_policy: TreePolicy
    default_policy: DefaultPolicy
    widening: Widening
    chance: Widening
    horizon: int = eqx.field(static=True)
    open_loop: bool = eqx.field(static=True)

    @property
    def slots(self) -> int:
        """Edges of each node."""
        space = self.problem.action
        return self.widening.limit if isinstance(space, Box) else space.n

    @property
    def outcomes(self) -> int:
        """Children of each edge."""
        return 1 if self.open_loop else self.chance.limit

    @property
    def asks(self) -> bool:
        """Whether the model is asked on the way down, not only at the leaf."""
        return self.open_loop or self.outcomes > 1

    def step(self, belief: PyTree, action: Action, key: PRNGKeyArray) -> PyTree:
        """Belief, reward and discount one step later."""
        after, reward, discount = self.problem.step(belief, action, key=key)
        dtype = self.problem.value(belief).dtype
        return after, reward.astype(dtype), discount.astype(dtype)

    def legal(self, belief: PyTree) -> Bool[Array, " slot"]:
        """Which actions a belief allows."""
        if self.problem.legal is None:
            return jnp.ones((self.slots,), bool)
        return self.problem.legal(belief)

    def legal_at(
        self, tree: Tree, node: Int[Array, ""], belief: PyTree
    ) -> Bool[Array, " slot"]:
        """The same at a node, which knows it unless it is a sequence of actions."""
        known = tree.about.legal
        return self.legal(belief) if known is None else known[node]

    def open_slots(
        self, tree: Tree, node: Int[Array, ""], belief: PyTree
    ) -> Bool[Array, " slot"]:
        """The edges that may be followed."""
        if not isinstance(self.problem.action, Box):
            return self.legal_at(tree, node, belief)
        allowed = self.widening(tree.visits[node], tree.edge_sums.dtype)
        return jnp.arange(self.slots, dtype=allowed.dtype) < allowed

    def goes_on(self, depth: Array, discount: Array, legal: Array) -> Bool[Array, ""]:
        """Whether anything can follow."""
        return (discount != 0) & (depth < self.horizon) & jnp.any(legal)

    def describe(self, belief: PyTree, key: PRNGKeyArray) -> Description:
        """What a node needs to know of its actions."""
        space, dtype = self.problem.action, self.problem.value(belief).dtype
        actions = legal = prior = None
        if isinstance(space, Box):
            actions = space.sample((self.slots,), key=key).astype(dtype)
            if self.default_policy.policy is not None:
                first = self.default_policy(self.problem, belief, key=key)
                actions = actions.at[0].set(first)
        if self.problem.legal is not None and not self.open_loop:
            legal = self.legal(belief)
        if self.tree_policy.prior is not None:
            logits = self.tree_policy.prior(belief)
            logits = jnp.where(self.legal(belief), logits, -jnp.inf)
            prior = jax.nn.softmax(logits).astype(dtype)
        return Description(actions, legal, prior)

    def outcome(
        self,
        tree: Tree,
        node: Int[Array, ""],
        slot: Int[Array, ""],
        drawn: PyTree,
        key: PRNGKeyArray,
    ) -> tuple[Int[Array, ""], Bool[Array, ""]]:
        """Which outcome of an edge to follow, and whether it is what was drawn now.

        What was drawn is followed while there may be more outcomes, the same ones
        being joined; then one of those that are there, as often as they were drawn.
        """
        children = tree.children[node, slot]
        there = children >= 0
        filled = jnp.sum(there, dtype=children.dtype)
        visits = tree.edge_visits[node, slot] + 1
        allowed = self.chance(visits, tree.edge_sums.dtype)

        def alike(child: Array) -> Array:
            return (
                same(drawn[0], belief_at(tree, child), exactly=True)
                & (drawn[1] == tree.reward[child])
                & (drawn[2] == tree.discount[child])
            )

        met = there & jax.vmap(alike)(children)
        joined = jnp.where(jnp.any(met), jnp.argmax(met).astype(filled.dtype), filled)
        counts = jnp.cumsum(
            jnp.where(there, tree.drawn[children], 0), dtype=filled.dtype
        )
        most = jnp.maximum(counts[-1], 1)
        ticket = jax.random.randint(key, (), 0, most, filled.dtype)
        kept = jnp.sum(counts <= ticket, dtype=filled.dtype)
        # A draw that is known already needs no room, so that it is always heard.
        anew = (filled < allowed) | jnp.any(met)
        return jnp.where(anew, joined, kept), anew
