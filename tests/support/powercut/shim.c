/*
 * Records what a process does to the files below one directory, for tests that simulate power cuts.
 *
 * Loaded with LD_PRELOAD. POWERCUT_ROOT is the directory, POWERCUT_LOG the file for the records, POWERCUT_MARKS a file
 * whose writes become marks in the log ("this was acknowledged").
 *
 * POWERCUT_FAIL_SYNCS, a number n, makes every n-th sync of a file fail as on Linux: the cached data is never written, but
 * stays in the cache until it is dropped with POSIX_FADV_DONTNEED.
 *
 * POWERCUT_SYNC_MICROSECONDS is how long a sync takes. Other threads run meanwhile, as with a real disk.
 *
 * Calls that change files run one at a time, each together with its record, so the log has the order of the calls. A
 * process begins with a record. A sync has two records, for its beginning and its end, and does not cover what other
 * threads write in between. Syncs are recorded but not executed: the test decides what reached the disk.
 *
 * Each call and its record hold a lock (flock) on the log, so that a test can kill the process between two calls.
 * POWERCUT_FAULT is a file with the calls that fail: C and an error number for every change, G for writing and creating, S
 * for syncs.
 *
 * Without POWERCUT_LOG nothing is recorded, and syncs are executed. Then the shim only injects faults, together with
 * POWERCUT_SCHEDULE, a mapped file of three numbers of 8 bytes that a test changes while the process runs: the delay of a
 * sync and of a write, in microseconds, and the error of CLOCK_REALTIME, in seconds.
 *
 * Record: type (1 byte), flag (1), path length (2), 4 unused bytes, file (8), offset (8), length (8), then the path and the
 * data; integers in native byte order. disk.rs describes the types.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FDS = 4096 };

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t set_up = PTHREAD_ONCE_INIT;
static char root[PATH_MAX];
static size_t root_length;
static char marks[PATH_MAX];
static int log_fd = -1, fault_fd = -1;
static int preloaded;

static struct schedule {
    int64_t sync_microseconds, write_microseconds, clock_seconds;
} no_faults, *schedule = &no_faults;

static int (*real_clock)(clockid_t, struct timespec *);

static unsigned long fail_every, syncs;
static unsigned sync_microseconds;

/* What a change replaced, latest first. Kept only if syncs may fail, until the change is synced and no earlier change of
 * its file is lost. `data` is the old content from `offset`, with zeros after the end of the file; `file_length` is the old
 * length of the file. */
struct before {
    struct before *earlier;
    uint64_t inode;
    int lost, synced, truncates;
    off_t offset, file_length;
    size_t length;
    char data[];
};
static struct before *unsynced;

/* For each descriptor: its inode below the root, or 0; whether writes through it are durable. */
static uint64_t inode_of[FDS];
static char durable[FDS];
static char marking[FDS];

static void enter(void) {
    int saved = errno;
    pthread_mutex_lock(&one);
    while (log_fd >= 0 && flock(log_fd, LOCK_EX) != 0)
        if (errno != EINTR) abort();
    errno = saved;
}

static void leave(void) {
    int saved = errno;
    if (log_fd >= 0) flock(log_fd, LOCK_UN);
    pthread_mutex_unlock(&one);
    errno = saved;
}

/* Returns whether a call of one of these sorts fails, and sets errno. Called with the lock held. */
static int fails(const char *sorts) {
    char wanted[9] = {0};
    if (fault_fd < 0 || syscall(SYS_pread64, fault_fd, wanted, 8, 0) < 2 || !strchr(sorts, wanted[0])) return 0;
    int number = atoi(wanted + 1);
    if (number) errno = number;
    return number;
}

static void put(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length) {
        ssize_t done = syscall(SYS_write, log_fd, at, length);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) abort();
        at += done;
        length -= (size_t)done;
    }
}

static void record(char type, int flag, uint64_t file, uint64_t offset, const char *path, const void *data, size_t length) {
    if (log_fd < 0) return;
    int saved = errno;
    struct {
        char type;
        unsigned char flag;
        uint16_t path_length;
        uint32_t unused;
        uint64_t file, offset, length;
    } head = {type, (unsigned char)flag, (uint16_t)strlen(path), 0, file, offset, length};
    put(&head, sizeof head);
    put(path, head.path_length);
    if (data) put(data, length);
    errno = saved;
}

static void begin(void) {
    const char *dir = getenv("POWERCUT_ROOT"), *log = getenv("POWERCUT_LOG"), *mark = getenv("POWERCUT_MARKS");
    real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (!dir || !log != !mark) return;
    const char *every = getenv("POWERCUT_FAIL_SYNCS");
    if (every) fail_every = strtoul(every, NULL, 10);
    const char *microseconds = getenv("POWERCUT_SYNC_MICROSECONDS");
    if (microseconds) sync_microseconds = (unsigned)strtoul(microseconds, NULL, 10);
    snprintf(root, sizeof root, "%s", dir);
    snprintf(marks, sizeof marks, "%s", mark ? mark : "");
    root_length = strlen(root);
    const char *fault = getenv("POWERCUT_FAULT");
    if (fault) fault_fd = (int)syscall(SYS_openat, AT_FDCWD, fault, O_RDONLY | O_CLOEXEC, 0);
    const char *schedule_path = getenv("POWERCUT_SCHEDULE");
    int schedule_fd = schedule_path ? (int)syscall(SYS_openat, AT_FDCWD, schedule_path, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (schedule_fd >= 0) {
        schedule = mmap(NULL, sizeof *schedule, PROT_READ, MAP_SHARED, schedule_fd, 0);
        if (schedule == MAP_FAILED) abort();
        syscall(SYS_close, schedule_fd);
    }
    preloaded = 1;
    if (!log) return;
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log_fd < 0) abort();
    enter();
    record('B', 0, 0, 0, "", NULL, 0);
    leave();
}

static int on(void) {
    pthread_once(&set_up, begin);
    return preloaded;
}

static void take(const volatile int64_t *microseconds) {
    int64_t wanted = *microseconds;
    int saved = errno;
    if (wanted > 0) usleep((useconds_t)wanted);
    errno = saved;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    on();
    int answer = real_clock(clock, now);
    if (answer == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *(const volatile int64_t *)&schedule->clock_seconds;
    return answer;
}

/* Writes the path relative to the root into `out`. Returns 0 if the path is not below the root. A path to be recorded is
 * looked up while the lock is held: another thread could rename its directory in between. */
static int below(int dir, const char *path, char *out) {
    char whole[PATH_MAX * 2];
    if (path[0] == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        char base[PATH_MAX];
        ssize_t length;
        if (dir == AT_FDCWD) {
            length = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/cwd", base, sizeof base - 1);
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
            length = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        }
        if (length < 0) return 0;
        base[length] = 0;
        snprintf(whole, sizeof whole, "%s/%s", base, path);
    }
    /* A path through a descriptor, whose directory may have been renamed. */
    if (strncmp(whole, "/proc/self/fd/", 14) == 0 && strchr(whole + 14, '/')) {
        char base[PATH_MAX], rest[PATH_MAX], *slash = strchr(whole + 14, '/');
        snprintf(rest, sizeof rest, "%s", slash);
        *slash = 0;
        ssize_t base_length = syscall(SYS_readlinkat, AT_FDCWD, whole, base, sizeof base - 1);
        if (base_length < 0) return 0;
        base[base_length] = 0;
        snprintf(whole, sizeof whole, "%s%s", base, rest);
    }
    size_t length = strlen(whole);
    while (length > 1 && whole[length - 1] == '/') whole[--length] = 0;
    if (strncmp(whole, root, root_length) != 0) return 0;
    if (whole[root_length] != '/' && whole[root_length] != 0) return 0;
    snprintf(out, PATH_MAX, "%s", whole[root_length] ? whole + root_length + 1 : "");
    return 1;
}

static uint64_t tracked(int fd) {
    return on() && fd >= 0 && fd < FDS ? inode_of[fd] : 0;
}

static int opened(int dir, const char *path, int flags, mode_t mode) {
    char relative[PATH_MAX];
    struct stat before, after;
    if (!on()) return (int)syscall(SYS_openat, dir, path, flags, mode);
    int is_mark = strcmp(path, marks) == 0;
    if (!is_mark && !below(dir, path, relative)) return (int)syscall(SYS_openat, dir, path, flags, mode);
    enter();
    int was_there = fstatat(dir, path, &before, 0) == 0;
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
    if (!is_mark && ((writes && fails("C")) || (!was_there && (flags & O_CREAT) && fails("CG")))) {
        leave();
        return -1;
    }
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= FDS) abort();
    if (fd >= 0 && is_mark) {
        marking[fd] = 1;
    } else if (fd >= 0 && fstat(fd, &after) == 0) {
        inode_of[fd] = after.st_ino;
        durable[fd] = (flags & O_DSYNC) != 0;
        if (!was_there && below(dir, path, relative)) record('O', 0, after.st_ino, 0, relative, NULL, 0);
        else if (flags & O_TRUNC) record('T', 0, after.st_ino, 0, "", NULL, 0);
    }
    leave();
    return fd;
}

#define MODE(flags, mode)                                 \
    mode_t mode = 0;                                      \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                \
        va_list more;                                     \
        va_start(more, flags);                            \
        mode = (mode_t)va_arg(more, int);                 \
        va_end(more);                                     \
    }

int open(const char *path, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags, mode) return opened(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags, mode) return opened(dir, path, flags | O_LARGEFILE, mode); }

int close(int fd) {
    if (on() && fd >= 0 && fd < FDS) {
        enter();
        inode_of[fd] = 0;
        durable[fd] = marking[fd] = 0;
        leave();
    }
    return (int)syscall(SYS_close, fd);
}

static int reopened(int fd, int flags) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return (int)syscall(SYS_openat, AT_FDCWD, link, flags | O_CLOEXEC, 0);
}

static void look_before(int reader, struct before *kept) {
    struct stat now;
    if (fstat(reader, &now) != 0) abort();
    kept->file_length = now.st_size;
    memset(kept->data, 0, kept->length);
    if (kept->length && syscall(SYS_pread64, reader, kept->data, kept->length, kept->offset) < 0) abort();
}

/* Keeps the old bytes from `offset`. Called before a change. */
static void keep_before(int fd, uint64_t inode, off_t offset, size_t length, int truncates) {
    if (!fail_every || durable[fd]) return;
    struct before *kept = malloc(sizeof *kept + length);
    int reader = reopened(fd, O_RDONLY);
    if (!kept || reader < 0) abort();
    *kept = (struct before){.earlier = unsynced, .inode = inode, .truncates = truncates, .offset = offset, .length = length};
    look_before(reader, kept);
    syscall(SYS_close, reader);
    unsynced = kept;
}

static int any_lost(uint64_t inode) {
    for (struct before *kept = unsynced; kept; kept = kept->earlier)
        if (kept->inode == inode && kept->lost) return 1;
    return 0;
}

/* Marks earlier changes as synced, or with `lost` as never written. A synced change is kept while an earlier one is lost,
 * because undoing that one needs it. */
static void settle(uint64_t inode, int lost) {
    int keep = any_lost(inode);
    for (struct before **at = &unsynced; *at;) {
        struct before *kept = *at;
        int concerned = kept->inode == inode && !kept->lost && !kept->synced;
        if (concerned && lost) kept->lost = 1;
        if (concerned && !lost) kept->synced = 1;
        if (concerned && !lost && !keep) {
            *at = kept->earlier;
            free(kept);
        } else {
            at = &kept->earlier;
        }
    }
}

static void put_back(int writer, const void *data, size_t length, off_t offset, off_t file_length) {
    if (length && syscall(SYS_pwrite64, writer, data, length, offset) != (ssize_t)length) abort();
    if (syscall(SYS_ftruncate, writer, file_length) != 0) abort();
}

/* Undoes all changes down to the earliest lost one, and repeats those that are not lost. */
static void roll_back(uint64_t inode, int writer, struct before *from) {
    struct before *at = from, *rest;
    while (at && at->inode != inode) at = at->earlier;
    if (!at || !any_lost(inode)) return;
    int more = 0;
    for (struct before *kept = at; kept; kept = kept->earlier) more |= kept->inode == inode && kept->lost;
    if (!more) return;
    rest = at->earlier;
    char *after = malloc(at->length ? at->length : 1);
    struct stat now;
    if (!after || fstat(writer, &now) != 0) abort();
    memset(after, 0, at->length);
    if (at->length && syscall(SYS_pread64, writer, after, at->length, at->offset) < 0) abort();
    off_t length_after = now.st_size;
    put_back(writer, at->data, at->length, at->offset, at->file_length);
    roll_back(inode, writer, rest);
    if (!at->lost) {
        /* The content before the change may be different now. */
        look_before(writer, at);
        off_t end = at->offset + (off_t)at->length;
        off_t length = at->truncates ? length_after : at->file_length > end ? at->file_length : end;
        if (at->truncates) put_back(writer, NULL, 0, 0, length);
        else put_back(writer, after, at->length, at->offset, length);
    }
    free(after);
}

/* Drops the cache: the file has the content of the disk again. Changes that are neither synced nor lost stay. */
int posix_fadvise64(int fd, off64_t offset, off64_t length, int advice) {
    uint64_t inode = tracked(fd);
    if (!inode || advice != POSIX_FADV_DONTNEED) return (int)syscall(SYS_fadvise64, fd, offset, length, advice);
    enter();
    int writer = any_lost(inode) ? reopened(fd, O_RDWR) : -1;
    if (writer >= 0) {
        roll_back(inode, writer, unsynced);
        syscall(SYS_close, writer);
        for (struct before **at = &unsynced; *at;) {
            struct before *kept = *at;
            if (kept->inode == inode && (kept->lost || kept->synced)) {
                *at = kept->earlier;
                free(kept);
            } else {
                at = &kept->earlier;
            }
        }
    }
    leave();
    return 0;
}

int posix_fadvise(int fd, off_t offset, off_t length, int advice) { return posix_fadvise64(fd, offset, length, advice); }

/* The C library closes the descriptor of a directory stream without calling `close`. */
int closedir(DIR *stream) {
    static int (*real)(DIR *);
    if (!real) real = (int (*)(DIR *))dlsym(RTLD_NEXT, "closedir");
    int fd = dirfd(stream);
    if (on() && fd >= 0 && fd < FDS) {
        enter();
        inode_of[fd] = 0;
        leave();
    }
    return real(stream);
}

static void wrote(int fd, uint64_t inode, uint64_t offset, const void *data, size_t length) {
    record('W', durable[fd], inode, offset, "", data, length);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    uint64_t inode = tracked(fd);
    if (!inode) return syscall(SYS_pwrite64, fd, data, length, offset);
    take(&schedule->write_microseconds);
    enter();
    keep_before(fd, inode, offset, length, 0);
    ssize_t done = fails("CG") ? -1 : syscall(SYS_pwrite64, fd, data, length, offset);
    if (done > 0) wrote(fd, inode, (uint64_t)offset, data, (size_t)done);
    leave();
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length) {
    uint64_t inode = tracked(fd);
    int is_mark = on() && fd >= 0 && fd < FDS && marking[fd];
    if (!inode && !is_mark) return syscall(SYS_write, fd, data, length);
    take(&schedule->write_microseconds);
    enter();
    off_t at = inode ? lseek(fd, 0, SEEK_CUR) : 0;
    if (inode && (fcntl(fd, F_GETFL) & O_APPEND)) at = lseek(fd, 0, SEEK_END);
    if (inode) keep_before(fd, inode, at, length, 0);
    ssize_t done = inode && fails("CG") ? -1 : syscall(SYS_write, fd, data, length);
    if (done > 0 && inode) wrote(fd, inode, (uint64_t)at, data, (size_t)done);
    if (done > 0 && is_mark) record('K', 0, 0, 0, "", data, (size_t)done);
    leave();
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!tracked(fd)) return syscall(SYS_writev, fd, parts, count);
    /* Short writes are allowed, so one part is enough. */
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len) return write(fd, parts[i].iov_base, parts[i].iov_len);
    return 0;
}

/* Callers fall back to read and write. */
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned flags) {
    if (tracked(to)) return errno = EXDEV, -1;
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, length, flags);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t length) {
    if (tracked(to)) return errno = EINVAL, -1;
    return syscall(SYS_sendfile, to, from, at, length);
}

ssize_t sendfile(int to, int from, off_t *at, size_t length) { return sendfile64(to, from, at, length); }

int ftruncate64(int fd, off64_t length) {
    uint64_t inode = tracked(fd);
    if (!inode) return (int)syscall(SYS_ftruncate, fd, length);
    struct stat now;
    enter();
    if (fstat(fd, &now) == 0) keep_before(fd, inode, length, now.st_size > length ? (size_t)(now.st_size - length) : 0, 1);
    int answer = fails("C") ? -1 : (int)syscall(SYS_ftruncate, fd, length);
    if (answer == 0) record('T', 0, inode, (uint64_t)length, "", NULL, 0);
    leave();
    return answer;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int synced(int fd, long call) {
    static uint64_t begun;
    uint64_t inode = inode_of[fd];
    struct stat now;
    take(&schedule->sync_microseconds);
    enter();
    if (fails("S")) {
        leave();
        return -1;
    }
    if (log_fd < 0) {
        leave();
        return (int)syscall(call, fd);
    }
    int broken = fail_every && fstat(fd, &now) == 0 && S_ISREG(now.st_mode) && ++syncs % fail_every == 0;
    uint64_t number = ++begun;
    record(broken ? 'X' : 'S', 0, inode, number, "", NULL, 0);
    settle(inode, broken);
    leave();
    if (broken) return errno = EIO, -1;
    if (sync_microseconds) usleep(sync_microseconds);
    enter();
    record('E', 0, inode, number, "", NULL, 0);
    leave();
    return 0;
}

int fsync(int fd) { return tracked(fd) ? synced(fd, SYS_fsync) : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return tracked(fd) ? synced(fd, SYS_fdatasync) : (int)syscall(SYS_fdatasync, fd); }

/* Guarantees nothing after a power cut, so it is not recorded as a sync. */
int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
    if (!tracked(fd)) return (int)syscall(SYS_sync_file_range, fd, offset, length, flags);
    enter();
    record('F', 0, inode_of[fd], (uint64_t)offset, "", NULL, 0);
    leave();
    return 0;
}

static int moved(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char source[PATH_MAX], target[PATH_MAX];
    if (!on() || !below(from_dir, from, source) || !below(to_dir, to, target))
        return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    enter();
    int answer = fails("C") ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (answer == 0 && below(from_dir, from, source) && below(to_dir, to, target)) record('R', 0, 0, 0, source, target, strlen(target));
    leave();
    return answer;
}

int rename(const char *from, const char *to) { return moved(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return moved(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return moved(a, from, b, to, flags); }

static int removed(int dir, const char *path, int flags) {
    char relative[PATH_MAX];
    if (!on() || !below(dir, path, relative)) return (int)syscall(SYS_unlinkat, dir, path, flags);
    enter();
    int answer = fails("C") ? -1 : (int)syscall(SYS_unlinkat, dir, path, flags);
    if (answer == 0 && below(dir, path, relative)) record('U', 0, 0, 0, relative, NULL, 0);
    leave();
    return answer;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int dir, const char *path, int flags) { return removed(dir, path, flags); }

static int made(int dir, const char *path, mode_t mode) {
    char relative[PATH_MAX];
    struct stat after;
    if (!on() || !below(dir, path, relative)) return (int)syscall(SYS_mkdirat, dir, path, mode);
    enter();
    int answer = fails("CG") ? -1 : (int)syscall(SYS_mkdirat, dir, path, mode);
    if (answer == 0 && fstatat(dir, path, &after, 0) == 0 && below(dir, path, relative)) record('M', 0, after.st_ino, 0, relative, NULL, 0);
    leave();
    return answer;
}

int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { return made(dir, path, mode); }
