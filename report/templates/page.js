// Without this script all of the page can be read; it makes what overflows reachable by keyboard, marks the section
// under view in the contents, opens what a link points into, and copies commands.
{
  // A region that scrolls sideways is a stop of the Tab key, named after its run and caption, only while it overflows.
  const overflow = new ResizeObserver((entries) => entries.forEach(({target: box}) => {
    const caption = box.querySelector("caption") ?? box.closest("figure")?.querySelector("figcaption");
    const names = [box.closest("article, .method")?.querySelector("h3"), caption].map((one) => one?.textContent.trim());
    const given = {tabindex: "0", role: "region", "aria-label": names.filter(Boolean).join(": ") || "Equation"};
    for (const [name, value] of Object.entries(given)) {
      if (box.scrollWidth > box.clientWidth + 1) box.setAttribute(name, value);
      else box.removeAttribute(name);
    }
  }));
  document.querySelectorAll(".scroll").forEach((box) => overflow.observe(box));

  // The part of the page below the top edge of the window, in the contents.
  const nav = document.querySelector("nav"), seen = new Set();
  const entries = new Map([...nav.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
  const view = new IntersectionObserver((found) => {
    for (const {target, isIntersecting} of found) seen[isIntersecting ? "add" : "delete"](target.id);
    const link = entries.get([...entries.keys()].findLast((id) => seen.has(id)));
    nav.querySelector("[aria-current]")?.removeAttribute("aria-current");
    link?.setAttribute("aria-current", "location");
    if (link?.offsetParent) nav.scrollTop = link.offsetTop - nav.clientHeight / 2;
  }, {rootMargin: "-10% 0px -85% 0px"});
  for (const id of entries.keys()) view.observe(document.getElementById(id));

  // On a narrow page the contents lie over the text: a chosen entry closes them.
  nav.addEventListener("click", (event) => {
    if (event.target.closest("a")) nav.querySelector("details").open = false;
  });

  // A link into a folded part opens it, in browsers that do not do so themselves.
  function unfold() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let part = target?.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    target?.scrollIntoView();
  }
  addEventListener("hashchange", unfold);
  if (location.hash) unfold();

  for (const command of document.querySelectorAll(".command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.ariaLabel = "Copy this command";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(command.querySelector("code").textContent);
      button.textContent = "Copied";
      button.ariaLabel = "Copied";
      setTimeout(() => { button.textContent = "Copy"; button.ariaLabel = "Copy this command"; }, 2000);
    });
    command.append(button);
  }
}
