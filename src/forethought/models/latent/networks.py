"""The networks of latent models, which are small enough for a CPU.

On one core a convolution of a small picture costs fifty times a dense layer on all of
its pixels, so that pictures go through dense layers.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


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

    def weight(network: eqx.nn.MLP) -> Array:
        return network.layers[-1].weight

    return eqx.tree_at(weight, network, weight(network) * last)


def levelled(x: Float[Array, " unit"]) -> Float[Array, " unit"]:
    """Numbers with mean zero and variance one (Ba, Kiros and Hinton, 2016)."""
    return (x - jnp.mean(x)) / jnp.sqrt(jnp.var(x) + 1e-4)
