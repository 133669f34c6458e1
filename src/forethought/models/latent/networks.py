"""The networks of latent models, which are small enough for a CPU.

On one core a convolution of a small picture costs fifty times a dense layer on all of
its pixels, so that pictures go through dense layers.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float, PRNGKeyArray


def dense(
    inputs: int,
    outputs: int,
    width: int,
    depth: int,
    *,
    last: float = 1.0,
    key: PRNGKeyArray,
) -> eqx.nn.MLP:
    """A network of dense layers with SiLU between them.

    Weights are drawn with twice the width of Equinox's own: SiLU halves what it passes.

    Args:
        inputs: Numbers that it is given.
        outputs: Numbers that it answers.
        width: Units of each hidden layer.
        depth: How many hidden layers.
        last: By what the weights of the last layer are multiplied, so that a network
            begins by saying little.
        key: Draws the weights.
    """
    network = eqx.nn.MLP(inputs, outputs, width, depth, jax.nn.silu, key=key)

    scales = [*([2.0] * depth), last]

    def weights(network: Any) -> list[Any]:
        return [layer.weight for layer in network.layers]

    scaled = [
        weight * scale for weight, scale in zip(weights(network), scales, strict=True)
    ]
    return eqx.tree_at(weights, network, scaled)


def levelled(x: Float[jax.Array, " unit"]) -> Float[jax.Array, " unit"]:
    """Numbers with mean zero and variance one (Ba, Kiros and Hinton, 2016)."""
    return (x - jnp.mean(x)) / jnp.sqrt(jnp.var(x) + 1e-4)
