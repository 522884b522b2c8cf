// A WebSocket that comes back: waits 0.5 s, then doubles to 8 s. Used for the live data and for logs.

import { socketUrl, url } from "./base.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const SILENCE_MS = 10000;

export class Channel {
  /**
   * `onState` gets "connecting", "live", "disconnected" or "refused" and, when disconnected, the wait in ms.
   * With `beats` the server is known to speak every second, so that silence means a lost connection.
   */
  constructor(path, { onMessage, onState = () => {}, onOpen = () => {}, beats = false }) {
    this.path = path;
    this.hooks = { onMessage, onState, onOpen };
    this.beats = beats;
    this.waitMs = FIRST_WAIT_MS;
    this.closed = false;
    this.heardMs = Date.now();
    // A machine that slept wakes with a connection that looks open and is dead.
    if (beats) {
      document.addEventListener("visibilitychange", () => {
        if (!document.hidden && this.socket && Date.now() - this.heardMs > SILENCE_MS) this.drop();
      });
    }
    this.connect();
  }

  connect() {
    if (this.closed) return;
    this.hooks.onState("connecting");
    const socket = new WebSocket(socketUrl(this.path));
    this.socket = socket;
    socket.onopen = () => this.hooks.onOpen(this);
    socket.onmessage = (event) => {
      if (this.socket !== socket) return;
      this.waitMs = FIRST_WAIT_MS;
      this.heardMs = Date.now();
      this.hooks.onState("live");
      this.watch();
      this.hooks.onMessage(JSON.parse(event.data));
    };
    socket.onclose = () => {
      if (this.socket === socket) this.lost();
    };
  }

  watch() {
    clearTimeout(this.silence);
    if (this.beats) this.silence = setTimeout(() => this.drop(), SILENCE_MS);
  }

  drop() {
    const socket = this.socket;
    this.lost();
    socket?.close();
  }

  async lost() {
    clearTimeout(this.silence);
    this.socket = null;
    if (this.closed) return;
    const wait = this.waitMs;
    this.waitMs = Math.min(LONGEST_WAIT_MS, wait * 2);
    this.hooks.onState("disconnected", wait);
    this.retry = setTimeout(() => this.knock(), wait);
  }

  /** Asks over HTTP first: only there can a page tell a missing token from a missing server. */
  async knock() {
    let status = 0;
    try {
      status = (await fetch(url("/api/runs"), { cache: "no-store" })).status;
    } catch {
      status = 0;
    }
    if (this.closed) return;
    if (status === 401) {
      this.hooks.onState("refused");
      this.retry = setTimeout(() => this.knock(), LONGEST_WAIT_MS);
    } else if (status === 0) this.lost();
    else this.connect();
  }

  /** Sends a value; false when there is no connection. */
  say(value) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(value));
    return true;
  }

  close() {
    this.closed = true;
    clearTimeout(this.retry);
    clearTimeout(this.silence);
    const socket = this.socket;
    this.socket = null;
    // A browser complains about a socket that is closed before it is open.
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket?.close();
  }
}
