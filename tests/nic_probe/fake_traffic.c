// A libnvidia-ml.so.1 with two GPUs whose links carry traffic; each read of a field finds more. The second GPU has no
// NVLink. FAKE_TRAFFIC=links counts each link for itself, =old knows no field, =none has no GPU.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };
typedef struct { int index; } gpu_t;
typedef struct {
  char legacy[16];
  uint32_t domain, bus, device, id, subsystem;
  char bus_id[32];
} pci_t;
typedef struct {
  uint32_t field, scope;
  int64_t timestamp, latency;
  uint32_t type;
  int32_t status;
  union { double real; uint32_t narrow; uint64_t wide; } value;
} field_t;

static gpu_t gpus[2] = {{0}, {1}};
static uint64_t kib = 1 << 20;

static int is(const char *mode) {
  const char *set = getenv("FAKE_TRAFFIC");
  return set != NULL && strcmp(set, mode) == 0;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return OK; }
int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int status) { return status == NOT_SUPPORTED ? "Not Supported" : "Error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = is("none") ? 0 : 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **gpu) { *gpu = &gpus[index]; return OK; }

int nvmlDeviceGetPciInfo_v3(gpu_t *gpu, pci_t *pci) {
  memset(pci, 0, sizeof *pci);
  strcpy(pci->bus_id, gpu->index ? "00000000:2A:00.0" : "00000000:18:00.0");
  return OK;
}

int nvmlDeviceGetNvLinkState(gpu_t *gpu, unsigned link, unsigned *active) {
  if (gpu->index || link >= 4) return NOT_SUPPORTED;
  *active = link != 3;
  return OK;
}

int nvmlDeviceGetPcieThroughput(gpu_t *gpu, unsigned direction, unsigned *kilobytes) {
  if (gpu->index) return NOT_SUPPORTED;
  *kilobytes = direction ? 3000 : 2000;
  return OK;
}

int nvmlDeviceGetFieldValues(gpu_t *gpu, int count, field_t *fields) {
  for (int i = 0; i < count; i++) {
    fields[i].status = is("old") || fields[i].field >= 197 || gpu->index ? NOT_SUPPORTED : OK;
    fields[i].type = 3;
    kib += 1024;
    fields[i].value.wide = is("links") ? kib + fields[i].scope * 7 : kib & ~0xffffull;
  }
  return OK;
}
