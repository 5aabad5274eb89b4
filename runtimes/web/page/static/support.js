// Written for old browsers: says what is missing in one that cannot run the page, before anything newer is read.
(function () {
  var simd = [
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
  ];
  var missing = [];
  if (typeof WebAssembly !== "object") missing.push("WebAssembly");
  else if (!WebAssembly.validate(new Uint8Array(simd))) missing.push("WebAssembly with SIMD");
  if (typeof BigInt64Array === "undefined") missing.push("BigInt");
  if (typeof Worker === "undefined") missing.push("workers");
  if (typeof HTMLDialogElement === "undefined" || typeof AbortSignal === "undefined" || !AbortSignal.any) {
    missing.push("what pages use since 2024");
  }
  if (!missing.length) return;
  window.unsupported = missing;
  document.addEventListener("DOMContentLoaded", function () {
    var said = document.createElement("p");
    said.setAttribute("role", "alert");
    said.className = "unsupported";
    said.textContent =
      "This browser lacks " +
      missing.join(" and ") +
      ", which running a model takes. " +
      "A current Chrome, Edge, Firefox or Safari has it.";
    document.body.insertBefore(said, document.body.firstChild);
  });
})();
