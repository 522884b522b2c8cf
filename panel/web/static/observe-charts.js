// The charts of Observe: which series each shows, in which section, and why one may be empty. Pure: no page.

/** The last part of a key: what a series measures. */
export function quantity(key) {
  return key.slice(key.lastIndexOf("/") + 1);
}

const PERCENTILE = /_(p\d+)_s$/;
const engine = "This engine does not export it.";

// `parts` are quantities with the word that tells them apart in the legend; a group with one part needs none.
export const SECTIONS = [
  {
    name: "kv",
    title: "KV transfer",
    charts: [
      { name: "kv", title: "KV transfer", group: "kv", unit: "B/s", parts: { kv_bytes_per_s: "" }, height: 320, wide: true, why: engine },
    ],
  },
  {
    name: "transfer",
    title: "Transfer",
    charts: [
      { name: "transfer", title: "Transfer latency", group: "transfer", unit: "s", parts: { transfer_latency_p50_s: "p50", transfer_latency_p99_s: "p99" }, why: engine },
      { name: "size", title: "KV per request", group: "transfer_size", unit: "B", parts: { transfer_bytes_per_request: "" }, why: engine },
      { name: "mooncake", title: "Transfer Engine throughput", group: "mooncake", unit: "B/s", parts: { mooncake_bytes_per_s: "" }, why: "Mooncake logs it with MC_TE_METRIC=1." },
      { name: "mooncake-latency", title: "Transfer Engine latency", group: "mooncake", unit: "s", parts: { mooncake_latency_p50_s: "p50", mooncake_latency_p99_s: "p99" }, why: "Mooncake logs it with MC_TE_METRIC=1." },
    ],
  },
  {
    name: "latency",
    title: "Latency",
    charts: [
      { name: "ttft", title: "Time to first token", group: "latency", unit: "s", parts: { ttft_p50_s: "p50", ttft_p99_s: "p99" }, why: engine },
      { name: "itl", title: "Inter-token latency", group: "latency", unit: "s", parts: { itl_p50_s: "p50", itl_p99_s: "p99" }, why: engine },
      { name: "e2e", title: "Whole request", group: "latency", unit: "s", parts: { e2e_p50_s: "p50", e2e_p99_s: "p99" }, why: engine },
    ],
  },
  {
    name: "load",
    title: "Load",
    charts: [
      { name: "requests", title: "Requests running", group: "queues", unit: "requests", parts: { running: "" }, why: engine },
      { name: "tokens", title: "Generated tokens", group: "tokens", unit: "tokens/s", parts: { generated_tokens_per_s: "" }, why: engine },
      { name: "queued", title: "Requests queued", group: "queues", unit: "requests", parts: { queued: "" }, why: engine },
      { name: "prompt", title: "Prompt tokens", group: "tokens", unit: "tokens/s", parts: { prompt_tokens_per_s: "" }, why: engine },
      {
        name: "queues",
        title: "Queues between prefill and decode",
        group: "queues",
        unit: "requests",
        parts: { bootstrap_queue: "bootstrap", inflight_queue: "inflight", prealloc_queue: "prealloc", transfer_queue: "transfer" },
        why: engine,
      },
      { name: "ended", title: "Requests ended", group: "requests", unit: "requests/s", parts: { requests_per_s: "all", failed_per_s: "failed" }, why: engine },
    ],
  },
  {
    name: "ranks",
    title: "Ranks",
    // Only runs whose workers have several ranks show it.
    optional: true,
    charts: [
      { name: "rank-compute", title: "Time in passes, by rank", group: "ranks", unit: "%", parts: { compute_percent: "" }, why: engine },
      { name: "rank-wait", title: "Time in exchanges, by rank", group: "ranks", unit: "%", parts: { wait_percent: "" }, why: engine },
      { name: "rank-kv", title: "KV sent, by rank", group: "ranks", unit: "B/s", parts: { kv_bytes_per_s: "" }, why: "No worker with several ranks sends KV." },
      { name: "rank-memory", title: "Memory, by rank", group: "ranks", unit: "B", parts: { rss_bytes: "" }, why: engine },
      { name: "group-running", title: "Requests, by attention group", group: "attention", unit: "requests", parts: { running: "running", queued: "queued" }, why: "No worker has several attention groups." },
      { name: "group-usage", title: "KV pool in use, by attention group", group: "attention", unit: "%", parts: { kv_usage_percent: "" }, why: "No worker has several attention groups." },
    ],
  },
  {
    name: "memory",
    title: "Memory",
    charts: [
      { name: "pages", title: "Pages in use", group: "pages", unit: "pages", parts: { slot_pages_used: "slot", staging_pages_used: "staging", pages_quarantined: "quarantine" }, why: engine },
      { name: "usage", title: "KV pool in use", group: "pages", unit: "%", parts: { kv_usage_percent: "" }, why: engine },
      { name: "store", title: "Store in use", group: "store", unit: "B", parts: { store_bytes: "" }, why: "This deployment has no store that tells it." },
    ],
  },
  {
    name: "network",
    title: "Network",
    charts: [
      { name: "nic", title: "RDMA ports", group: "nic", unit: "B/s", parts: { tx_bytes_per_s: "sent", rx_bytes_per_s: "received" }, why: "This host has no RDMA port whose counters can be read." },
      { name: "netdev", title: "Network interfaces", group: "netdev", unit: "B/s", parts: { tx_bytes_per_s: "sent", rx_bytes_per_s: "received" }, why: "No interface of this host is sampled for this run." },
    ],
  },
  {
    name: "host",
    title: "Host",
    charts: [
      { name: "gpu", title: "GPU busy", group: "gpu", unit: "%", parts: { util_percent: "" }, why: "This run uses no GPU whose counters can be read." },
      { name: "gpu-memory", title: "GPU memory", group: "gpu", unit: "B", parts: { memory_bytes: "" }, why: "This run uses no GPU whose counters can be read." },
      { name: "cpu", title: "CPU", group: "cpu", unit: "%", parts: { cpu_percent: "" }, why: "No process of this run can be looked at." },
      { name: "memory", title: "Memory of processes", group: "memory", unit: "B", parts: { rss_bytes: "" }, why: "No process of this run can be looked at." },
      { name: "host-memory", title: "Memory of the host", group: "memory", unit: "B", parts: { memory_bytes: "" }, why: "The host's memory is not sampled." },
    ],
  },
];

/** The groups of series that sections show. */
export function groupsOf(sections) {
  return [...new Set(sections.flatMap((section) => section.charts.map((chart) => chart.group)))];
}

/** The series of a chart, each with its `name` in the legend; `has` says whether one ever had a value. */
export function seriesOf(chart, all, has) {
  const parts = Object.keys(chart.parts);
  let found = all.filter((one) => one.group === chart.group && parts.includes(quantity(one.key)) && has(one.key));
  // What a process sends is the sum of its links: only where no link tells.
  if (chart.group === "kv" && found.some((one) => one.key.startsWith("link/"))) found = found.filter((one) => !one.key.startsWith("proc/"));
  const several = found.filter((one) => !one.total);
  // With one part the total is the same line.
  if (several.length === 1 && found.length === 2 && parts.length === 1) found = several;
  const order = (one) => parts.indexOf(quantity(one.key));
  const named = found.map((one) => {
    const part = chart.parts[quantity(one.key)];
    const alone = one.total && part && found.filter((other) => other.total).length === found.length;
    return { ...one, name: alone ? part : [one.label, part].filter(Boolean).join(" "), dashed: PERCENTILE.exec(one.key)?.[1] === "p99" };
  });
  return named.sort((one, other) => Number(one.total) - Number(other.total) || order(one) - order(other));
}
