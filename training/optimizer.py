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
    alike = {}
    for index, matrix in enumerate(matrices):
        alike.setdefault(tuple(matrix.shape), []).append(index)
    results = [None] * len(matrices)
    for rows in {rows for rows, _ in alike}:
        shapes = [shape for shape in alike if shape[0] == rows]
        stacks = [torch.stack([matrices[i] for i in alike[shape]]) for shape in shapes]
        gram = torch.cat([x @ x.mT for x in stacks])
        norm = gram.diagonal(dim1=1, dim2=2).sum(1).sqrt().view(-1, 1, 1) + 1e-7
        gram = gram / norm.square()
        left = identity = torch.eye(rows, device=gram.device)
        for _ in range(iterations):
            q = a * identity + b * gram + c * gram @ gram
            left, gram = q @ left, q @ gram @ q
        left = (left / norm).split([len(x) for x in stacks])
        for shape, x, m in zip(shapes, stacks, left):
            for index, result in zip(alike[shape], (m @ x).unbind()):
                results[index] = result
    return results


class Muon(torch.optim.Optimizer):
    """`lr` may be a tensor, for CUDA graphs."""

    def __init__(self, parameters, lr=2e-3, momentum=0.95, weight_decay=0.01):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in parameters]
            buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, gradients)
            ahead = torch._foreach_add(gradients, buffers, alpha=group["momentum"])  # Nesterov
            tall = [p.shape[0] > p[0].numel() for p in parameters]
            updates = orthogonalise([m.flatten(1).T if t else m.flatten(1) for m, t in zip(ahead, tall)])
            torch._foreach_mul_(updates, [0.2 * max(m.shape) ** 0.5 for m in updates])
            torch._foreach_mul_(updates, group["lr"])
            updates = [(m.T if t else m).reshape(p.shape) for p, m, t in zip(parameters, updates, tall)]
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(parameters, updates)


def make_optimizers(model, lr):
    """The convolutions next to pixels and latents keep AdamW, as usual for a network's ends."""
    ends = ("encoder.down1.0.", "encoder.conv_out.", "decoder.conv_in.", "decoder.conv_out.")
    inner = [p for n, p in model.named_parameters() if p.dim() > 1 and not n.startswith(ends)]
    chosen = {id(p) for p in inner}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [Muon(inner, lr=lr), torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.99), weight_decay=0, capturable=rest[0].is_cuda)]
