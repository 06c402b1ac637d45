/* A stand-in for NVIDIA's libnvidia-ml.so.1: the functions that penstock.device.nvml calls, over a text file.
 *
 * The file is named by PENSTOCK_FAKE_NVML and read on every call, so a test can lose a device while it is used.
 * Lines, fields separated by ';':
 *   gpu;NAME;UUID;TOTAL_MIB;USED_MIB;SM_MHZ;MEM_MHZ;MAX_SM_MHZ;MAX_MEM_MHZ;POWER_MW;LIMIT_MW;ENERGY_MJ;REASONS;LOST;MIG
 *   mig;GPU_INDEX;NAME;UUID;TOTAL_MIB;MULTIPROCESSORS
 *   process;GPU_INDEX;PID;MIB
 * A field of -1 is "not supported".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NOT_LOADED = 9, LOST = 15 };
enum { MOST = 16, MIG_HANDLE = 1000 };

typedef struct { char name[96], uuid[96]; long long total, used, sm, mem, max_sm, max_mem, power, limit, energy, reasons; int lost, mig; } Gpu;
typedef struct { int gpu; char name[96], uuid[96]; long long total; unsigned sms; } Mig;
typedef struct { unsigned gpu, pid; long long mib; } Process;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
typedef struct { unsigned sms, rest[7]; unsigned long long memory_mb; } Attributes;
typedef struct { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; } ProcessInfo;

static Gpu gpus[MOST]; static Mig migs[MOST]; static Process processes[MOST];
static int n_gpus, n_migs, n_processes, users;

static int load(void) {
    const char *path = getenv("PENSTOCK_FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    if (!file) return NOT_LOADED;
    n_gpus = n_migs = n_processes = 0;
    while (fgets(line, sizeof line, file)) {
        Gpu *g = &gpus[n_gpus]; Mig *m = &migs[n_migs]; Process *p = &processes[n_processes];
        if (n_gpus < MOST && sscanf(line, "gpu;%95[^;];%95[^;];%lld;%lld;%lld;%lld;%lld;%lld;%lld;%lld;%lld;%lld;%d;%d",
                g->name, g->uuid, &g->total, &g->used, &g->sm, &g->mem, &g->max_sm, &g->max_mem, &g->power, &g->limit,
                &g->energy, &g->reasons, &g->lost, &g->mig) == 14) n_gpus++;
        else if (n_migs < MOST && sscanf(line, "mig;%d;%95[^;];%95[^;];%lld;%u", &m->gpu, m->name, m->uuid, &m->total, &m->sms) == 5) n_migs++;
        else if (n_processes < MOST && sscanf(line, "process;%u;%u;%lld", &p->gpu, &p->pid, &p->mib) == 3) n_processes++;
    }
    fclose(file);
    return users ? SUCCESS : UNINITIALIZED;
}

static int find(void *handle, Gpu **gpu) {
    long number = (long)handle - 1;
    int status = load();
    if (status) return status;
    if (number >= MIG_HANDLE) number = migs[number - MIG_HANDLE].gpu;
    if (number < 0 || number >= n_gpus) return NOT_FOUND;
    *gpu = &gpus[number];
    return gpus[number].lost ? LOST : SUCCESS;
}

#define GPU_OR_RETURN(handle) Gpu *gpu; int status = find(handle, &gpu); if (status) return status
#define GIVE(out, value) do { if ((value) < 0) return NOT_SUPPORTED; *(out) = (value); return SUCCESS; } while (0)
static Mig *mig_of(void *handle) { long n = (long)handle - 1; return n >= MIG_HANDLE ? &migs[n - MIG_HANDLE] : NULL; }

int nvmlInitWithFlags(unsigned flags) { (void)flags; users++; int status = load(); if (status) users--; return status; }
int nvmlShutdown(void) { if (!users) return UNINITIALIZED; users--; return SUCCESS; }
const char *nvmlErrorString(int status) { return status == LOST ? "GPU is lost" : "stub error"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { snprintf(out, size, "570.86.15"); return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 12080; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *out) { int status = load(); *out = n_gpus; return status; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    *out = (void *)(long)(index + 1);
    GPU_OR_RETURN(*out);
    return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **out) {
    int status = load();
    if (status) return status;
    for (int i = 0; i < n_gpus; i++) if (!strcmp(gpus[i].uuid, uuid)) { *out = (void *)(long)(i + 1); return gpus[i].lost ? LOST : SUCCESS; }
    for (int i = 0; i < n_migs; i++) if (!strcmp(migs[i].uuid, uuid)) { *out = (void *)(long)(i + 1 + MIG_HANDLE); return SUCCESS; }
    return NOT_FOUND;
}
int nvmlDeviceGetIndex(void *handle, unsigned *out) { GPU_OR_RETURN(handle); *out = (unsigned)(gpu - gpus); return SUCCESS; }
int nvmlDeviceGetName(void *handle, char *out, unsigned size) {
    GPU_OR_RETURN(handle);
    snprintf(out, size, "%s", mig_of(handle) ? mig_of(handle)->name : gpu->name);
    return SUCCESS;
}
int nvmlDeviceGetUUID(void *handle, char *out, unsigned size) {
    GPU_OR_RETURN(handle);
    snprintf(out, size, "%s", mig_of(handle) ? mig_of(handle)->uuid : gpu->uuid);
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(void *handle, Memory *out) {
    GPU_OR_RETURN(handle);
    Mig *mig = mig_of(handle);
    out->total = (mig ? mig->total : gpu->total) << 20;
    out->used = mig ? 0 : gpu->used << 20;
    out->free = out->total - out->used;
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(void *handle, Pci *out) {
    GPU_OR_RETURN(handle);
    memset(out, 0, sizeof *out);
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", (unsigned)(gpu - gpus) + 10);
    return SUCCESS;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) { GPU_OR_RETURN(handle); *pending = 0; GIVE(current, gpu->mig); }
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *out) { GPU_OR_RETURN(handle); *out = 7; return SUCCESS; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **out) {
    GPU_OR_RETURN(handle);
    for (int i = 0; i < n_migs; i++) if (migs[i].gpu == gpu - gpus && !index--) { *out = (void *)(long)(i + 1 + MIG_HANDLE); return SUCCESS; }
    return NOT_FOUND;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *handle, void **out) { GPU_OR_RETURN(handle); *out = (void *)(long)(gpu - gpus + 1); return SUCCESS; }
int nvmlDeviceGetAttributes_v2(void *handle, Attributes *out) {
    GPU_OR_RETURN(handle);
    memset(out, 0, sizeof *out);
    if (!mig_of(handle)) return NOT_SUPPORTED;
    out->sms = mig_of(handle)->sms;
    return SUCCESS;
}
int nvmlDeviceGetClockInfo(void *handle, int kind, unsigned *out) { GPU_OR_RETURN(handle); GIVE(out, kind == 1 ? gpu->sm : gpu->mem); }
int nvmlDeviceGetMaxClockInfo(void *handle, int kind, unsigned *out) { GPU_OR_RETURN(handle); GIVE(out, kind == 1 ? gpu->max_sm : gpu->max_mem); }
int nvmlDeviceGetPowerUsage(void *handle, unsigned *out) { GPU_OR_RETURN(handle); GIVE(out, gpu->power); }
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *out) { GPU_OR_RETURN(handle); GIVE(out, gpu->limit); }
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *out) { GPU_OR_RETURN(handle); GIVE(out, gpu->energy); }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *out) { GPU_OR_RETURN(handle); GIVE(out, gpu->reasons); }
int nvmlDeviceGetTemperature(void *handle, int kind, unsigned *out) { GPU_OR_RETURN(handle); (void)kind; *out = 41; return SUCCESS; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, ProcessInfo *out) {
    GPU_OR_RETURN(handle);
    unsigned room = *count, found = 0;
    for (int i = 0; i < n_processes; i++) if ((long)processes[i].gpu == gpu - gpus) {
        if (found < room) out[found] = (ProcessInfo){processes[i].pid, (unsigned long long)processes[i].mib << 20, 0, 0};
        found++;
    }
    *count = found;
    return found > room ? TOO_SMALL : SUCCESS;
}
