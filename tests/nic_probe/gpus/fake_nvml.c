/* A driver library with two GPUs, at the boundary where the real one is loaded: libnvidia-ml.so.1.
 *
 * Structures and codes are those of nvml.h. FAKE_NVML in the environment chooses a broken driver (see each use);
 * compiled with -DOLD the library lacks what drivers of some years ago lacked. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

typedef struct { int index; } gpu_t;
static gpu_t gpus[2] = {{0}, {1}};

static int is(const char *mode) {
  const char *wanted = getenv("FAKE_NVML");
  return wanted && strcmp(wanted, mode) == 0;
}

/* Hangs for good, and says in the file that FAKE_NVML_PID names which process it is. */
static void hang(void) {
  const char *path = getenv("FAKE_NVML_PID");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (file) { fprintf(file, "%d\n", (int)getpid()); fclose(file); }
  for (;;) sleep(3600);
}

static int start(void) {
  if (is("hang")) hang();
  if (is("crash")) abort();
  if (is("no-driver")) return DRIVER_NOT_LOADED;
  if (is("prints")) {
    printf("{\"libraries\": \"rubbish\"}\n");
    fflush(stdout);
    fprintf(stderr, "rubbish\n");
    if (write(1, "}{", 2) < 0) return OK;
  }
  return OK;
}

int nvmlInit_v2(void) { return start(); }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return start(); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "An Error"; }

static int text(char *buffer, unsigned length, const char *value) {
  snprintf(buffer, length, "%s", value);
  return OK;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) { return text(version, length, "570.86.15"); }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12080; return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12080; return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = is("counts-more") ? 5 : 2; return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **gpu) {
  if (index > 1) return INVALID_ARGUMENT;
  if (index == 1 && is("lost")) return GPU_IS_LOST;
  if (index == 1 && is("slow")) hang();
  *gpu = &gpus[index];
  return OK;
}

int nvmlDeviceGetName(gpu_t *gpu, char *name, unsigned length) {
  if (gpu->index == 1 && is("two-models")) return text(name, length, "NVIDIA A100-PCIE-40GB");
  if (is("binary-name")) return text(name, length, "NVIDIA \xff\x1b[31m");
  return text(name, length, "NVIDIA H100 80GB HBM3");
}

int nvmlDeviceGetUUID(gpu_t *gpu, char *uuid, unsigned length) {
  int same = is("same-uuid");
  return text(uuid, length, gpu->index && !same ? "GPU-22222222-0000-0000-0000-000000000000" : "GPU-11111111-0000-0000-0000-000000000000");
}

typedef struct { char legacy[16]; uint32_t domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;

int nvmlDeviceGetPciInfo_v3(gpu_t *gpu, pci_t *pci) {
  memset(pci, 0, sizeof *pci);
  pci->bus = gpu->index ? 0xAB : 0x18;
  snprintf(pci->bus_id, sizeof pci->bus_id, is("far-domain") ? "00010000:%02X:00.0" : "00000000:%02X:00.0", pci->bus);
  snprintf(pci->legacy, sizeof pci->legacy, "0000:%02X:00.0", pci->bus);
  return OK;
}

int nvmlDeviceGetCudaComputeCapability(gpu_t *gpu, int *major, int *minor) { (void)gpu; *major = 9; *minor = 0; return OK; }

typedef struct { uint64_t total, unused, used; } memory_t;
int nvmlDeviceGetMemoryInfo(gpu_t *gpu, memory_t *memory) {
  uint64_t gib = 1ull << 30;
  memory->total = is("lies") && gpu->index == 0 ? 0 : 80 * gib;
  memory->used = is("lies") ? 99 * gib : gpu->index ? 2 * gib : gib;
  memory->unused = memory->total - memory->used;
  return OK;
}

typedef struct { uint32_t gpu, memory; } utilization_t;
int nvmlDeviceGetUtilizationRates(gpu_t *gpu, utilization_t *rates) {
  rates->gpu = is("lies") ? 4294967295u : gpu->index ? 40 : 0;
  rates->memory = 7;
  return OK;
}

int nvmlDeviceGetTemperature(gpu_t *gpu, int sensor, unsigned *value) { (void)sensor; *value = 40 + gpu->index; return OK; }
int nvmlDeviceGetPowerUsage(gpu_t *gpu, unsigned *milliwatts) { (void)gpu; *milliwatts = 123456; return OK; }

/* Its own process, which the reader can name, and one of another container. */
typedef struct { uint32_t pid; uint64_t used; uint32_t instance, compute_instance; } process_t;
int nvmlDeviceGetComputeRunningProcesses_v3(gpu_t *gpu, unsigned *count, process_t *processes) {
  if (gpu->index == 0) { *count = 0; return OK; }
  if (*count < 2) { *count = 2; return INSUFFICIENT_SIZE; }
  *count = 2;
  processes[0] = (process_t){(uint32_t)getpid(), 1ull << 30, 0, 0};
  processes[1] = (process_t){4194305, UINT64_MAX, 0, 0};
  return OK;
}

int nvmlDeviceGetNvLinkState(gpu_t *gpu, unsigned link, unsigned *active) {
  if (link >= 18) return INVALID_ARGUMENT;
  *active = !(gpu->index == 1 && link == 17);
  return OK;
}

#ifndef OLD
typedef struct { uint32_t version; uint64_t total, reserved, unused, used; } memory_v2_t;
int nvmlDeviceGetMemoryInfo_v2(gpu_t *gpu, memory_v2_t *memory) {
  memory_t first;
  if (memory->version != 0x02000028) return INVALID_ARGUMENT;
  nvmlDeviceGetMemoryInfo(gpu, &first);
  memory->total = first.total;
  memory->reserved = 1ull << 29;
  memory->used = is("lies") ? first.used : first.used - memory->reserved;
  memory->unused = first.unused;
  return OK;
}

int nvmlDeviceGetEccMode(gpu_t *gpu, unsigned *now, unsigned *pending) { (void)gpu; *now = *pending = 1; return OK; }
int nvmlDeviceGetTotalEccErrors(gpu_t *gpu, int type, int counter, unsigned long long *count) {
  if (type != 1 || counter != 0) return INVALID_ARGUMENT;
  *count = gpu->index ? 3 : 0;
  return OK;
}
int nvmlDeviceGetRetiredPagesPendingStatus(gpu_t *gpu, unsigned *pending) { (void)gpu; (void)pending; return NOT_SUPPORTED; }
int nvmlDeviceGetRemappedRows(gpu_t *gpu, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
  *corrected = *uncorrected = *failed = 0;
  *pending = (unsigned)gpu->index;
  return OK;
}
int nvmlDeviceGetCurrentClocksEventReasons(gpu_t *gpu, unsigned long long *reasons) { *reasons = gpu->index ? 0x4 | 0x40 : 0x1; return OK; }
int nvmlDeviceGetComputeMode(gpu_t *gpu, unsigned *mode) { *mode = gpu->index ? 3 : 0; return OK; }
int nvmlDeviceGetPersistenceMode(gpu_t *gpu, unsigned *mode) { (void)gpu; *mode = 1; return OK; }
int nvmlDeviceGetMigMode(gpu_t *gpu, unsigned *now, unsigned *pending) {
  if (!is("mig")) return NOT_SUPPORTED;
  *now = *pending = (unsigned)gpu->index;
  return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(gpu_t *gpu, unsigned *count) { (void)gpu; *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(gpu_t *gpu, unsigned index, gpu_t **instance) {
  if (index != 2) return NOT_FOUND;
  *instance = gpu;
  return OK;
}

typedef struct { uint32_t version; uint8_t cluster[16]; int status; uint32_t clique, state, health; } fabric_t;
int nvmlDeviceGetGpuFabricInfoV(gpu_t *gpu, fabric_t *fabric) {
  if (fabric->version != 0x02000024) return INVALID_ARGUMENT;
  fabric->state = gpu->index ? 2 : 3;
  fabric->status = 0;
  return OK;
}

typedef struct { unsigned long long total, unused, used; } bar1_t;
int nvmlDeviceGetBAR1MemoryInfo(gpu_t *gpu, bar1_t *bar) { (void)gpu; bar->total = 128ull << 30; return OK; }
int nvmlDeviceGetPowerManagementLimit(gpu_t *gpu, unsigned *milliwatts) { (void)gpu; *milliwatts = 500000; return OK; }
int nvmlDeviceGetPowerManagementDefaultLimit(gpu_t *gpu, unsigned *milliwatts) { (void)gpu; *milliwatts = 700000; return OK; }
int nvmlDeviceGetCurrPcieLinkGeneration(gpu_t *gpu, unsigned *generation) { (void)gpu; *generation = 1; return OK; }
int nvmlDeviceGetMaxPcieLinkGeneration(gpu_t *gpu, unsigned *generation) { (void)gpu; *generation = 5; return OK; }
int nvmlDeviceGetCurrPcieLinkWidth(gpu_t *gpu, unsigned *width) { *width = gpu->index ? 8 : 16; return OK; }
int nvmlDeviceGetMaxPcieLinkWidth(gpu_t *gpu, unsigned *width) { (void)gpu; *width = 16; return OK; }
#endif
