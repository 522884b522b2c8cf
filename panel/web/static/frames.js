// Slows down chains of animation frames that never end. A classic script: it must be there before Gradio's modules are.
// Gradio's loading sign keeps asking for frames after it is gone, which takes 3 % of a core in every open tab.

(() => {
  const LONG_MS = 5000;
  const APART_MS = 1000;
  const native = window.requestAnimationFrame.bind(window);
  // When the chain began whose frame is being served; 0 outside of frames.
  let began = 0;

  window.requestAnimationFrame = (callback) => {
    const first = began || performance.now();
    const serve = (now) => {
      began = first;
      try {
        callback(now);
      } finally {
        began = 0;
      }
    };
    if (performance.now() - first < LONG_MS) return native(serve);
    setTimeout(() => native(serve), APART_MS);
    return 0;
  };
})();
