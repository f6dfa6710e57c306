// A browser starts no worker from a file. Where the site is opened without a server, the script of
// its search runs in a hidden frame instead, which is asked and answers as a worker would.
// (The theme would fetch such a script, of this name, from the network.)
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      this.listener = new Promise((ready) => {
        frame.addEventListener("load", () => {
          const inside = frame.contentWindow;
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          const script = inside.document.createElement("script");
          script.src = address;
          script.onload = () => ready(inside);
          inside.document.body.append(script);
        }, { once: true });
      });
      document.body.append(frame);
    }

    postMessage(data) {
      this.listener.then((inside) => inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
