"""The answer: what is known, with its equation, and what the experiment measured."""

from report import show
from theory.linear_autoencoder.figure import draw
from theory.linear_autoencoder.form import LinearAutoencoder
from theory.section import Section, Start, make


def answer(found: LinearAutoencoder | None) -> Section:
    """Question 1."""
    start = Start(
        id="linear-autoencoder", title="Does a linear autoencoder learn PCA?",
        answer=
            "It learns PCA's subspace, but not PCA's axes. With a linear encoder E, a linear decoder D and squared "
            "error, every minimum is a global one, and there the reconstruction is the orthogonal projection on the k "
            "leading principal directions (Baldi and Hornik 1989, for a covariance of full rank; the biases take up "
            "the mean m, Bourlard and Kamp 1988). The other stationary points, which project on other principal "
            "directions, are saddles. The loss sees only the product D E, though: for every invertible A the pair D A, "
            "A\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT ONE} E reconstructs the same. So nothing "
            "orders the latent's coordinates, makes them uncorrelated or ties one of them to one principal direction.",
        equations=[
            (r"min_(E, D) sum_i norm(x_i - m - D E (x_i - m))^2 quad => quad D E = U_k U_k^top = (D A)(A^(-1) E)",
             "Minimising the summed squared error of reconstructing x i minus m by D E gives D E equal to U k times U "
             "k transposed, the projection on the k leading principal directions, which also equals D A times A "
             "inverse E for every invertible A")])
    if found is None:
        return make(start)
    measured = [
        f"Trained on {show.count(found.images)} digits of {found.pixels} pixels, not centred, with a latent of "
        f"{found.latent} and at most {show.count(found.steps)} steps of L-BFGS, the decoder's columns span "
        f"PCA's subspace: the smallest cosine of the {found.latent} principal angles is {min(found.cosines):.6f}, "
        f"against {show.significant(min(found.random_cosines))} for a random subspace. The mean squared pixel error is "
        f"{show.significant(found.autoencoder_error)}, PCA's {show.significant(found.pca_error)}, that of the best "
        f"reconstruction from the random subspace {show.significant(found.random_error)}.",
        f"The single columns are not principal directions: with the axis nearest to it a column has a cosine between "
        f"{show.significant(min(found.axis_cosines))} and {show.significant(max(found.axis_cosines))}. A second "
        f"training from another start ends in the same subspace (smallest cosine "
        f"{min(found.other_seed_cosines):.6f}) with other columns (at best "
        f"{show.significant(max(found.other_seed_axis_cosines))}). This says nothing of deep or L1 autoencoders, which "
        "have no such theorem.",
    ]
    return make(start, measured=measured, figures=[draw(found)])
