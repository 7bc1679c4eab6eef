"""Muon for convolution weights, AdamW for the rest.

Muon (Jordan et al. 2024) orthogonalises the momentum of each weight matrix by a Newton-Schulz iteration; the factor
0.2 * sqrt(longer side) (Liu et al. 2025) gives its updates AdamW's size, so that both share one learning rate.
"""
import torch


def orthogonalise(matrices, iterations=5):
    """UV' of each matrix's singular value decomposition, nearly. No matrix has more rows than columns.

    The iteration X <- aX + b(XX')X + c(XX')^2 X only multiplies X from the left, so it runs on the small Gram matrices,
    all of one size at once, and X is multiplied by the product at the end.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    results = [None] * len(matrices)
    for rows in {len(m) for m in matrices}:
        chosen = [i for i, m in enumerate(matrices) if len(m) == rows]
        scaled = [matrices[i] / (matrices[i].norm() + 1e-7) for i in chosen]
        gram = torch.stack([x @ x.T for x in scaled])
        identity = torch.eye(rows, device=gram.device)
        left = identity
        for _ in range(iterations):
            q = a * identity + b * gram + c * gram @ gram
            left, gram = q @ left, q @ gram @ q
        for i, x, m in zip(chosen, scaled, left):
            results[i] = m @ x
    return results


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr=2e-3, momentum=0.95, weight_decay=0.01):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            parameters, matrices = [p for p in group["params"] if p.grad is not None], []
            for p in parameters:
                state = self.state[p]
                buffer = state.setdefault("momentum", torch.zeros_like(p))
                buffer.mul_(group["momentum"]).add_(p.grad)
                m = p.grad.add(buffer, alpha=group["momentum"]).flatten(1)  # Nesterov
                matrices.append(m.T if m.shape[0] > m.shape[1] else m)
            for p, m in zip(parameters, orthogonalise(matrices)):
                if p.shape[0] > p[0].numel():
                    m = m.T
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(m.reshape(p.shape), alpha=-group["lr"] * 0.2 * max(m.shape) ** 0.5)


def make_optimizers(model, lr):
    """The convolutions next to pixels and latents keep AdamW, as usual for a network's ends."""
    ends = ("encoder.down1.0.", "encoder.conv_out.", "decoder.conv_in.", "decoder.conv_out.")
    inner = [p for n, p in model.named_parameters() if p.dim() > 1 and not n.startswith(ends)]
    chosen = {id(p) for p in inner}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [Muon(inner, lr=lr), torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.99), weight_decay=0)]
