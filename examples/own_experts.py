"""A mixture of your own experts: build it, train its gate, attack it, save it.

    python examples/own_experts.py

The experts are small torch modules that know nothing of morex. It takes half a minute on one core
with AVX2, and less with AVX512.
"""

from pathlib import Path

import torch
from small_net import SmallNet

import morex
from morex.attacks import PGD, WorstOfDraws
from morex.perturbations import L2, Clean, Linf
from morex.training import SideBySide, Single

torch.manual_seed(0)
clean_net, robust_net = SmallNet(), SmallNet()
data = morex.data.load_data("digits")
images = morex.TrainingData(*data.train.split(validation=0.15, seed=0))
config = morex.TrainingConfig(epochs=6, batch_size=64, learning_rate=0.05)
morex.train(clean_net, Single((WorstOfDraws(Clean()),)), images, config)
morex.train(robust_net, Single((PGD(Linf(0.1), steps=5),)), images, config)

# [guide]
experts = {"clean": clean_net, "robust": robust_net}  # images in [0, 1] to logits
gate = morex.ResNet(morex.NetworkConfig("resnet10", width=8, outputs=2, image_size=(8, 8)))
mixture = morex.Mixture(experts, gate, last_layers="fc")  # the name of their last linear layer

members = (WorstOfDraws(Clean()), PGD(Linf(0.1), steps=5))
morex.train(mixture, SideBySide(members), images, config)  # gate and last layers, nothing else

suite = morex.table1(l2=L2(1.0), linf=Linf(0.1), queries=100)
outcomes = morex.evaluate(mixture, data.test, suite)
for row in outcomes.rows:
    print(row, outcomes.accuracy(row))
print("union", outcomes.union().mean())
# [/guide]

# its experts are made again by their class, whose file must stay where it is
network = Path(__file__).with_name("small_net.py")
morex.save(mixture, "runs/own-experts", factory=f"{network}:SmallNet")
again = morex.load("runs/own-experts")
pixels = data.test.pixels(slice(0, 100))
assert torch.equal(again(pixels), mixture.eval()(pixels))
print("saved in runs/own-experts")
