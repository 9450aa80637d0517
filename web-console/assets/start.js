// First in the page, before any paint: the theme that was chosen (src/theme.rs writes it), then the console itself.
try {
  const theme = localStorage.getItem('theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage is forbidden here: the system's theme it is.
}
import('/{{js}}')
  .then((console) => console.default({ module_or_path: '/{{wasm}}' }))
  .catch((error) => {
    console.error(error);
    const message = document.createElement('p');
    message.className = 'page';
    message.setAttribute('role', 'alert');
    message.textContent = 'The console could not start. Reload the page; it needs a browser with WebAssembly.';
    document.body.append(message);
  });
