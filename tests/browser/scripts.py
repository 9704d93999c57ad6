"""What tests and the bench have the page itself do: JavaScript for `page.evaluate`."""

#: Milliseconds of each of eight searches, until it is painted.
FILTER = """async () => {
    const search = document.getElementById("search");
    const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const took = [];
    for (const text of ["v", "vm-1", "vm-12", "ens4", "52:54:01", "state:fresh", "ip:10.0.0.0/8", ""]) {
        const begun = performance.now();
        search.value = text;
        search.dispatchEvent(new Event("input"));
        await painted();
        took.push(performance.now() - begun);
    }
    return took;
}"""

#: Milliseconds between frames, so many of them, while the table is scrolled by so many pixels each time.
SCROLL = """async ([frames, step]) => {
    const grid = document.querySelector("[role=grid]");
    const frame = () => new Promise(requestAnimationFrame);
    grid.scrollTop = 0;
    let last = await frame();
    const took = [];
    for (let number = 0; number < frames; number += 1) {
        grid.scrollTop += step;
        const now = await frame();
        took.push(now - last);
        last = now;
    }
    return took;
}"""
