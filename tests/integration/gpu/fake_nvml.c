/* A libnvidia-ml.so.1 for machines without one: NVIDIA's own binding cannot tell the difference.
 *
 * It tells what a scenario file says, one "key = value" a line, read anew whenever the file that
 * FAKE_NVML_SCENARIO names was replaced. Keys of a card begin with "gpuN."; a reading without its
 * key is NVML_ERROR_NOT_SUPPORTED, as on a real card. "gpuN.fail.FUNCTION = CODE" and
 * "fail.FUNCTION = CODE" make a call fail; "gpuN.lost" makes all calls about a card fail.
 * "driver_life" counts the driver's lives: a session opened in an earlier one is no longer good.
 *
 * Layouts and return codes are those of nvml.h; nothing of it is copied here.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef int Return;
typedef unsigned int u32;
typedef unsigned long long u64;

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15
};
enum { KEYS_MAX = 2048, CARDS_MAX = 16, SLICES_MAX = 7, LIST_MAX = 64 };

typedef struct { char name[96]; char value[1024]; } Key;
typedef struct { int index; int slice; } Device; /* slice -1: the whole card */
typedef struct { Device *device; u64 delivered; } EventSet;

static Key keys[KEYS_MAX];
static int key_count;
static struct stat read_at;
static int is_open;
static char opened_in[32];
static Device cards[CARDS_MAX];
static Device slices[CARDS_MAX][SLICES_MAX];
static EventSet event_sets[CARDS_MAX * 4];
static u32 event_set_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* --- the scenario ------------------------------------------------------------------------- */

static const char *find(const char *name) {
    for (int i = 0; i < key_count; i++)
        if (!strcmp(keys[i].name, name)) return keys[i].value;
    return NULL;
}

static const char *find_of(const Device *device, const char *name) {
    char full[160];
    if (device->slice >= 0)
        snprintf(full, sizeof full, "gpu%d.mig%d.%s", device->index, device->slice, name);
    else
        snprintf(full, sizeof full, "gpu%d.%s", device->index, name);
    return find(full);
}

static void trim(char *to, size_t room, char *from) {
    while (*from == ' ') from++;
    size_t length = strcspn(from, "\r\n");
    while (length && from[length - 1] == ' ') length--;
    snprintf(to, room, "%.*s", (int)length, from);
}

static void read_scenario(void) {
    const char *path = getenv("FAKE_NVML_SCENARIO");
    struct stat now;
    if (!path || stat(path, &now)) return;
    if (key_count && now.st_ino == read_at.st_ino && now.st_size == read_at.st_size &&
        now.st_mtim.tv_sec == read_at.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == read_at.st_mtim.tv_nsec)
        return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    char line[1200];
    key_count = 0;
    while (fgets(line, sizeof line, file) && key_count < KEYS_MAX) {
        char *equals = strchr(line, '=');
        if (!equals) continue;
        *equals = 0;
        trim(keys[key_count].name, sizeof keys[0].name, line);
        trim(keys[key_count].value, sizeof keys[0].value, equals + 1);
        key_count++;
    }
    fclose(file);
    read_at = now;
}

static const char *life(void) {
    const char *told = find("driver_life");
    return told ? told : "0";
}

/* What every call does first. The lock is held from here to leave(). */
static Return enter(const Device *device, const char *function) {
    char name[160];
    pthread_mutex_lock(&lock);
    read_scenario();
    snprintf(name, sizeof name, "fail.%s", function);
    const char *code = find(name);
    if (code) return atoi(code);
    if (!is_open || strcmp(opened_in, life())) return UNINITIALIZED;
    if (!device) return SUCCESS;
    if (find_of(&cards[device->index], "lost")) return GPU_IS_LOST;
    code = find_of(&cards[device->index], name);
    return code ? atoi(code) : SUCCESS;
}

static Return leave(Return result) {
    pthread_mutex_unlock(&lock);
    return result;
}

static Return text_of(const char *value, char *out, u32 room) {
    if (!value) return NOT_SUPPORTED;
    if (strlen(value) + 1 > room) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

static Return number_of(const char *value, u32 *out) {
    if (!value) return NOT_SUPPORTED;
    *out = (u32)strtoul(value, NULL, 0);
    return SUCCESS;
}

static Return large_of(const char *value, u64 *out) {
    if (!value) return NOT_SUPPORTED;
    *out = strtoull(value, NULL, 0);
    return SUCCESS;
}

/* --- the system --------------------------------------------------------------------------- */

Return nvmlInitWithFlags(u32 flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    read_scenario();
    const char *code = find("fail.nvmlInit");
    if (code) return leave(atoi(code));
    is_open = 1;
    snprintf(opened_in, sizeof opened_in, "%s", life());
    return leave(SUCCESS);
}

Return nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

Return nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    Return result = is_open ? SUCCESS : UNINITIALIZED;
    is_open = 0;
    event_set_count = 0;
    return leave(result);
}

const char *nvmlErrorString(Return code) {
    return code == 999 ? "Unknown Error" : "Fake Error";
}

Return nvmlSystemGetDriverVersion(char *out, u32 room) {
    Return result = enter(NULL, __func__);
    return leave(result ? result : text_of(find("driver"), out, room));
}

typedef struct { u32 environment, feature, dev_tools; } Confidential;

Return nvmlSystemGetConfComputeState(Confidential *out) {
    Return result = enter(NULL, __func__);
    if (result) return leave(result);
    out->environment = out->dev_tools = 0;
    return leave(number_of(find("confidential"), &out->feature));
}

/* --- cards -------------------------------------------------------------------------------- */

static u32 count_cards(void) {
    char name[32];
    u32 count = 0;
    for (; count < CARDS_MAX; count++) {
        snprintf(name, sizeof name, "gpu%u.uuid", count);
        if (!find(name)) break;
        cards[count].index = (int)count;
        cards[count].slice = -1;
    }
    return count;
}

Return nvmlDeviceGetCount_v2(u32 *out) {
    Return result = enter(NULL, __func__);
    if (!result) *out = count_cards();
    return leave(result);
}

Return nvmlDeviceGetHandleByIndex_v2(u32 index, Device **out) {
    Return result = enter(NULL, __func__);
    if (result) return leave(result);
    if (index >= count_cards()) return leave(INVALID_ARGUMENT);
    *out = &cards[index];
    return leave(find_of(*out, "lost") ? GPU_IS_LOST : SUCCESS);
}

Return nvmlDeviceGetHandleByUUID(const char *uuid, Device **out) {
    Return result = enter(NULL, __func__);
    if (result) return leave(result);
    u32 count = count_cards();
    for (u32 i = 0; i < count; i++) {
        if (strcmp(find_of(&cards[i], "uuid"), uuid)) continue;
        *out = &cards[i];
        return leave(find_of(*out, "lost") ? GPU_IS_LOST : SUCCESS);
    }
    return leave(NOT_FOUND);
}

#define TEXT(function, key)                                                   \
    Return function(Device *device, char *out, u32 room) {                    \
        Return result = enter(device, #function);                             \
        return leave(result ? result : text_of(find_of(device, key), out, room)); \
    }
#define NUMBER(function, key)                                                 \
    Return function(Device *device, u32 *out) {                               \
        Return result = enter(device, #function);                             \
        return leave(result ? result : number_of(find_of(device, key), out)); \
    }
#define LARGE(function, key)                                                  \
    Return function(Device *device, u64 *out) {                               \
        Return result = enter(device, #function);                             \
        return leave(result ? result : large_of(find_of(device, key), out));  \
    }
#define PERCENT(function, key)                                                \
    Return function(Device *device, u32 *out, u32 *period_us) {               \
        Return result = enter(device, #function);                             \
        *period_us = 167000;                                                  \
        return leave(result ? result : number_of(find_of(device, key), out)); \
    }

TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetUUID, "uuid")
NUMBER(nvmlDeviceGetPowerUsage, "power_mw")
NUMBER(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw")
NUMBER(nvmlDeviceGetMaxMigDeviceCount, "mig_count_max")
LARGE(nvmlDeviceGetTotalEnergyConsumption, "energy_mj")
LARGE(nvmlDeviceGetCurrentClocksEventReasons, "clock_reasons")
LARGE(nvmlDeviceGetCurrentClocksThrottleReasons, "throttle_reasons")
PERCENT(nvmlDeviceGetEncoderUtilization, "encoder")
PERCENT(nvmlDeviceGetDecoderUtilization, "decoder")
PERCENT(nvmlDeviceGetJpgUtilization, "jpeg")
PERCENT(nvmlDeviceGetOfaUtilization, "optical_flow")

Return nvmlDeviceGetTemperature(Device *device, int sensor, u32 *out) {
    (void)sensor;
    Return result = enter(device, __func__);
    return leave(result ? result : number_of(find_of(device, "temperature_c"), out));
}

Return nvmlDeviceGetClockInfo(Device *device, int kind, u32 *out) {
    Return result = enter(device, __func__);
    const char *key = kind == 2 ? "memory_mhz" : "sm_mhz";
    return leave(result ? result : number_of(find_of(device, key), out));
}

Return nvmlDeviceGetEncoderCapacity(Device *device, int query, u32 *out) {
    (void)query;
    Return result = enter(device, __func__);
    return leave(result ? result : number_of(find_of(device, "encoder_capacity"), out));
}

Return nvmlDeviceGetTotalEccErrors(Device *device, int kind, int counter, u64 *out) {
    (void)counter;
    Return result = enter(device, __func__);
    const char *key = kind ? "ecc_uncorrected" : "ecc_corrected";
    return leave(result ? result : large_of(find_of(device, key), out));
}

Return nvmlDeviceGetMigMode(Device *device, u32 *now, u32 *pending) {
    Return result = enter(device, __func__);
    if (!result) result = number_of(find_of(device, "mig"), now);
    if (!result) *pending = *now;
    return leave(result);
}

Return nvmlDeviceGetMigDeviceHandleByIndex(Device *device, u32 index, Device **out) {
    Return result = enter(device, __func__);
    if (result) return leave(result);
    if (index >= SLICES_MAX) return leave(INVALID_ARGUMENT);
    Device *slice = &slices[device->index][index];
    slice->index = device->index;
    slice->slice = (int)index;
    *out = slice;
    return leave(find_of(slice, "uuid") ? SUCCESS : NOT_FOUND);
}

Return nvmlDeviceGetUtilizationRates(Device *device, u32 *out) {
    Return result = enter(device, __func__);
    if (!result) result = number_of(find_of(device, "sm"), &out[0]);
    if (!result) result = number_of(find_of(device, "memory_load"), &out[1]);
    return leave(result);
}

typedef struct { u64 total, free, used; } Memory;

Return nvmlDeviceGetMemoryInfo(Device *device, Memory *out) {
    Return result = enter(device, __func__);
    if (!result) result = large_of(find_of(device, "memory_total"), &out->total);
    if (!result) result = large_of(find_of(device, "memory_used"), &out->used);
    if (!result) out->free = out->total - out->used;
    return leave(result);
}

Return nvmlDeviceGetCudaComputeCapability(Device *device, int *major, int *minor) {
    Return result = enter(device, __func__);
    if (result) return leave(result);
    const char *told = find_of(device, "compute_capability");
    return leave(told && sscanf(told, "%d.%d", major, minor) == 2 ? SUCCESS : NOT_SUPPORTED);
}

typedef struct { char legacy[16]; u32 domain, bus, device, id, subsystem; char name[32]; } Pci;

Return nvmlDeviceGetPciInfo_v3(Device *device, Pci *out) {
    Return result = enter(device, __func__);
    memset(out, 0, sizeof *out);
    return leave(result ? result : text_of(find_of(device, "pci"), out->name, sizeof out->name));
}

/* --- lists -------------------------------------------------------------------------------- */

/* Reads up to `width` numbers from each word; a number is anything between other characters. */
static u32 read_list(const char *text, u64 rows[LIST_MAX][8], int width) {
    u32 count = 0;
    while (*text && count < LIST_MAX) {
        while (*text == ' ') text++;
        if (!*text) break;
        for (int i = 0; i < width; i++) {
            char *end;
            rows[count][i] = strtoull(text, &end, 0);
            text = *end && *end != ' ' ? end + 1 : end;
        }
        count++;
    }
    return count;
}

/* "instances" are "pid:GPU instance". */
static u32 instance_of(const Device *device, u64 pid) {
    u64 rows[LIST_MAX][8];
    const char *told = find_of(device, "instances");
    u32 count = told ? read_list(told, rows, 2) : 0;
    for (u32 i = 0; i < count; i++)
        if (rows[i][0] == pid) return (u32)rows[i][1];
    return ~0u;
}

typedef struct { u32 pid; u64 memory; u32 gpu_instance, compute_instance; } Process;

static Return processes(Device *device, const char *function, const char *key, u32 *count,
                        Process *out) {
    u64 rows[LIST_MAX][8];
    Return result = enter(device, function);
    if (result) return leave(result);
    const char *told = find_of(device, key);
    if (!told) return leave(NOT_SUPPORTED);
    u32 found = read_list(told, rows, 2);
    if (found > *count || (found && !out)) {
        *count = found;
        return leave(INSUFFICIENT_SIZE);
    }
    for (u32 i = 0; i < found; i++) {
        Process one = {(u32)rows[i][0], rows[i][1], instance_of(device, rows[i][0]), ~0u};
        out[i] = one;
    }
    *count = found;
    return leave(SUCCESS);
}

#define PROCESSES(function, key)                                              \
    Return function(Device *device, u32 *count, Process *out) {               \
        return processes(device, #function, key, count, out);                 \
    }

PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, "compute")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, "graphics")
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, "mps")

/* Rows of "load": pid, time in µs, sm, memory, encoder, decoder, jpeg, optical flow. */
static Return loads(Device *device, u64 since, u64 rows[LIST_MAX][8], u32 *found) {
    u64 all[LIST_MAX][8];
    const char *told = find_of(device, "load");
    if (!told) return NOT_SUPPORTED;
    u32 count = read_list(told, all, 8);
    *found = 0;
    for (u32 i = 0; i < count; i++)
        if (all[i][1] > since) memcpy(rows[(*found)++], all[i], sizeof all[i]);
    return *found ? SUCCESS : NOT_FOUND;
}

typedef struct { u32 pid; u64 time; u32 sm, memory, encoder, decoder; } OldLoad;

Return nvmlDeviceGetProcessUtilization(Device *device, OldLoad *out, u32 *count, u64 since) {
    u64 rows[LIST_MAX][8];
    u32 found;
    Return result = enter(device, __func__);
    if (!result) result = loads(device, since, rows, &found);
    if (result) return leave(result);
    if (!out || *count < found) {
        *count = found;
        return leave(INSUFFICIENT_SIZE);
    }
    for (u32 i = 0; i < found; i++) {
        u64 *row = rows[i];
        OldLoad one = {(u32)row[0], row[1], (u32)row[2], (u32)row[3], (u32)row[4], (u32)row[5]};
        out[i] = one;
    }
    *count = found;
    return leave(SUCCESS);
}

typedef struct { u64 time; u32 pid, sm, memory, encoder, decoder, jpeg, optical_flow; } NewLoad;
typedef struct { u32 version, count; u64 since; NewLoad *loads; } NewLoads;

Return nvmlDeviceGetProcessesUtilizationInfo(Device *device, NewLoads *out) {
    u64 rows[LIST_MAX][8];
    u32 found;
    Return result = enter(device, __func__);
    if (!result && find_of(device, "old_driver")) result = NOT_SUPPORTED;
    if (!result) result = loads(device, out->since, rows, &found);
    if (result) return leave(result);
    if (!out->loads || out->count < found) {
        out->count = found;
        return leave(INSUFFICIENT_SIZE);
    }
    for (u32 i = 0; i < found; i++) {
        u64 *row = rows[i];
        NewLoad one = {row[1], (u32)row[0], (u32)row[2], (u32)row[3],
                       (u32)row[4], (u32)row[5], (u32)row[6], (u32)row[7]};
        out->loads[i] = one;
    }
    out->count = found;
    return leave(SUCCESS);
}

/* Rows of sessions: pid, width, height, frames per second. "grow.KEY" tells one less at first. */
static Return sessions(Device *device, const char *key, u64 rows[LIST_MAX][8], u32 *found) {
    const char *told = find_of(device, key);
    if (!told) return NOT_SUPPORTED;
    *found = read_list(told, rows, 4);
    return SUCCESS;
}

typedef struct { u32 id, pid, vgpu, codec, width, height, fps, latency_us; } Encoding;

Return nvmlDeviceGetEncoderSessions(Device *device, u32 *count, Encoding *out) {
    static int asked;
    u64 rows[LIST_MAX][8];
    u32 found;
    Return result = enter(device, __func__);
    if (!result) result = sessions(device, "encoder_sessions", rows, &found);
    if (result) return leave(result);
    if (!out) {
        /* A session that opens between the two calls of a pair, once in a while. */
        int hides = find_of(device, "encoder_sessions_grow") && found > 1 && asked++ % 2 == 0;
        *count = found - (hides ? 1 : 0);
        return leave(SUCCESS);
    }
    if (*count < found) return leave(INSUFFICIENT_SIZE);
    for (u32 i = 0; i < found; i++) {
        u64 *row = rows[i];
        Encoding one = {i + 1, (u32)row[0], 0, 0, (u32)row[1], (u32)row[2], (u32)row[3], 4000};
        out[i] = one;
    }
    *count = found;
    return leave(SUCCESS);
}

typedef struct {
    u32 id, pid, vgpu, display, kind, flags, width_max, height_max, width, height, fps, latency_us;
} Capture;

Return nvmlDeviceGetFBCSessions(Device *device, u32 *count, Capture *out) {
    u64 rows[LIST_MAX][8];
    u32 found;
    Return result = enter(device, __func__);
    if (!result) result = sessions(device, "capture_sessions", rows, &found);
    if (result) return leave(result);
    for (u32 i = 0; out && i < found && i < *count; i++) {
        u64 *row = rows[i];
        u32 width = (u32)row[1], height = (u32)row[2];
        Capture one = {i + 1, (u32)row[0], 0, 0, 0, 0, width, height, width, height,
                       (u32)row[3], 4000};
        out[i] = one;
    }
    *count = found;
    return leave(SUCCESS);
}

/* --- critical errors ---------------------------------------------------------------------- */

typedef struct { Device *device; u64 kind, data; u32 gpu_instance, compute_instance; } Event;

Return nvmlEventSetCreate(EventSet **out) {
    Return result = enter(NULL, __func__);
    if (result) return leave(result);
    if (event_set_count == CARDS_MAX * 4) return leave(INSUFFICIENT_SIZE);
    *out = &event_sets[event_set_count++];
    (*out)->device = NULL;
    (*out)->delivered = 0;
    return leave(SUCCESS);
}

/* "xids" are "serial:code"; a set gets those that come after it was registered. */
Return nvmlDeviceRegisterEvents(Device *device, u64 kinds, EventSet *set) {
    u64 rows[LIST_MAX][8];
    (void)kinds;
    Return result = enter(device, __func__);
    if (result) return leave(result);
    const char *told = find_of(device, "xids");
    if (!told) return leave(NOT_SUPPORTED);
    set->device = device;
    u32 count = read_list(told, rows, 2);
    if (count) set->delivered = rows[count - 1][0];
    return leave(SUCCESS);
}

Return nvmlEventSetWait_v2(EventSet *set, Event *out, u32 timeout_ms) {
    u64 rows[LIST_MAX][8];
    (void)timeout_ms;
    Return result = enter(set->device, __func__);
    if (result) return leave(result);
    const char *told = find_of(set->device, "xids");
    u32 count = told ? read_list(told, rows, 2) : 0;
    for (u32 i = 0; i < count; i++) {
        if (rows[i][0] <= set->delivered) continue;
        Event one = {set->device, 8, rows[i][1], ~0u, ~0u};
        *out = one;
        set->delivered = rows[i][0];
        return leave(SUCCESS);
    }
    return leave(TIMEOUT);
}

/* --- slices, monitored (GPM) -------------------------------------------------------------- */

enum { SAMPLES_MAX = 64, METRICS_MAX = 477 };

/* A sample is of one instance; metrics compare two of them, as the real ones do. */
typedef struct { int is_used; u32 instance; u64 serial; char monitored[256]; } GpmSample;
typedef struct { u32 version, is_supported; } GpmSupport;
typedef struct {
    u32 id;
    Return result;
    double value;
    const char *short_name, *long_name, *unit;
} GpmMetric;
typedef struct {
    u32 version, count;
    GpmSample *before, *after;
    GpmMetric metrics[METRICS_MAX];
} GpmMetrics;

static GpmSample gpm_samples[SAMPLES_MAX];
static u64 gpm_serial;

NUMBER(nvmlDeviceGetGpuInstanceId, "instance")

Return nvmlGpmQueryDeviceSupport(Device *device, GpmSupport *out) {
    Return result = enter(device, __func__);
    if (!result) out->is_supported = find_of(device, "gpm") != NULL;
    return leave(result);
}

Return nvmlGpmSampleAlloc(GpmSample **out) {
    Return result = enter(NULL, __func__);
    for (int i = 0; !result && i < SAMPLES_MAX; i++) {
        if (gpm_samples[i].is_used) continue;
        memset(&gpm_samples[i], 0, sizeof gpm_samples[i]);
        gpm_samples[i].is_used = 1;
        *out = &gpm_samples[i];
        return leave(SUCCESS);
    }
    /* Whoever never gives one back runs out of them. */
    return leave(result ? result : INSUFFICIENT_SIZE);
}

Return nvmlGpmSampleFree(GpmSample *sample) {
    Return result = enter(NULL, __func__);
    sample->is_used = 0;
    return leave(result);
}

Return nvmlGpmMigSampleGet(Device *device, u32 instance, GpmSample *sample) {
    Return result = enter(device, __func__);
    if (result) return leave(result);
    if (!sample->is_used) return leave(INVALID_ARGUMENT);
    for (int i = 0; i < SLICES_MAX; i++) {
        Device slice = {device->index, i};
        const char *id = find_of(&slice, "instance");
        const char *told = find_of(&slice, "monitored");
        if (!id || !told || strtoul(id, NULL, 0) != instance) continue;
        sample->instance = instance;
        sample->serial = ++gpm_serial;
        snprintf(sample->monitored, sizeof sample->monitored, "%s", told);
        return leave(SUCCESS);
    }
    return leave(NOT_FOUND);
}

/* Rows of "monitored": metric, percent. A metric without a row is NOT_SUPPORTED. */
Return nvmlGpmMetricsGet(GpmMetrics *asked) {
    u64 rows[LIST_MAX][8];
    Return result = enter(NULL, __func__);
    if (result) return leave(result);
    const GpmSample *before = asked->before, *after = asked->after;
    if (asked->version != 1 || !before->is_used || !after->is_used || asked->count > METRICS_MAX ||
        before->instance != after->instance || before->serial >= after->serial)
        return leave(INVALID_ARGUMENT);
    u32 count = read_list(after->monitored, rows, 2);
    for (u32 i = 0; i < asked->count; i++) {
        GpmMetric *metric = &asked->metrics[i];
        metric->result = NOT_SUPPORTED;
        for (u32 j = 0; j < count; j++) {
            if (rows[j][0] != metric->id) continue;
            metric->result = SUCCESS;
            metric->value = (double)rows[j][1];
        }
    }
    return leave(SUCCESS);
}
