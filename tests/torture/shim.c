/* A file system that fails where the test bench says: LD_PRELOAD over the calls that change files.

   Only calls on paths below FAULT_UNDER count, from all threads and processes together, in the order in which they are
   made: a lock is held through each of them. FAULT_CONTROL names a file that the bench and the shim both map; through it
   the bench arms and disarms faults while the program runs, and reads the count after a kill. FAULT_LOG, where it is set,
   gets a record of every call that succeeded, from which the bench builds what a power failure may leave.

   SQLite's shared-memory index (-shm) is no part of this: nothing reads it after a crash.

   The wall clock is the control file's too: so many seconds off. Only clock_gettime is, which is what Python asks. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PASS, KILL, TORN, IO_ERROR, NO_SPACE, LIE, SLOW, FAIL_SYNC };
enum { SLOW_SECONDS = 2 };
enum kind { CREATE = 1, MAKE_DIRECTORY, WRITE, TRUNCATE, SYNC, LINK, UNLINK, RENAME, SYNC_FAILED };

/* The same on the other side, in shim.py. */
struct control {
    uint64_t calls, at, faults;
    uint32_t action, sticky;
    int64_t clock_offset;
};
struct record {
    uint32_t kind, path_size, other_size, data_size;
    uint64_t inode, offset;
};

#define PATH 4096
static struct control *control;
static char under[PATH];
static size_t under_size;
static int log_descriptor = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

/* Read the environment; a process forked from one that is not watched calls this itself. */
__attribute__((constructor, visibility("default"))) void fault_begin(void) {
    const char *directory = getenv("FAULT_UNDER"), *shared = getenv("FAULT_CONTROL"), *log = getenv("FAULT_LOG");
    if (!directory || !shared) return;
    under_size = strlen(strncpy(under, directory, PATH - 1));
    int descriptor = REAL(open64)(shared, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) abort();
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (mapped == MAP_FAILED) abort();
    close(descriptor);
    if (log && (log_descriptor = REAL(open64)(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0) abort();
    control = mapped;
}

static bool is_watched(const char *path) {
    size_t size = strlen(path);
    return strncmp(path, under, under_size) == 0 && (path[under_size] == '/' || !path[under_size]) &&
           !(size > 4 && strcmp(path + size - 4, "-shm") == 0);
}

static bool path_of(int descriptor, char *path) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(name, path, PATH - 1);
    if (size < 0) return false;
    path[size] = 0;
    return true;
}

static bool absolute(int directory, const char *name, char *path) {
    if (!control || !name) return false;
    if (*name == '/') {
        if (strlen(name) >= PATH) return false;
        strcpy(path, name);
    } else {
        char start[PATH];
        if (directory == AT_FDCWD ? !getcwd(start, PATH) : !path_of(directory, start)) return false;
        if (snprintf(path, PATH, "%s/%s", start, name) >= PATH) return false;
    }
    return is_watched(path);
}

static bool watches(int descriptor) {
    char path[PATH];
    int before = errno;
    bool found = control && path_of(descriptor, path) && is_watched(path);
    errno = before;
    return found;
}

static uint64_t inode_of(int descriptor) {
    struct stat found;
    return fstat(descriptor, &found) ? 0 : found.st_ino;
}

static uint64_t inode_at(const char *path) {
    struct stat found;
    return lstat(path, &found) ? 0 : found.st_ino;
}

static void record(enum kind kind, uint64_t inode, const char *path, const char *other, const void *data, size_t size,
                   uint64_t offset) {
    if (log_descriptor < 0) return;
    struct record head = {kind, strlen(path), strlen(other), size, inode, offset};
    struct iovec parts[] = {
        {&head, sizeof head}, {(void *)path, head.path_size}, {(void *)other, head.other_size}, {(void *)data, size}};
    /* A bench that cannot record would judge by half a history. */
    if (syscall(SYS_writev, log_descriptor, parts, 4) != (long)(sizeof head + head.path_size + head.other_size + size))
        abort();
}

static void die(void) {
    for (;;) syscall(SYS_kill, getpid(), SIGKILL);
}

/* What is to happen at this call, the lock held; an error is also put into errno. */
static int next(enum kind kind) {
    uint64_t number = ++control->calls;
    if (!control->at || (control->sticky ? number < control->at : number != control->at)) return PASS;
    int action = control->action;
    if (action == FAIL_SYNC) {
        if (kind != SYNC) return PASS;
        control->at = 0;
        action = IO_ERROR;
    }
    control->faults++;
    if (action == LIE && kind != SYNC) return PASS;
    /* A full disk takes no more, but gives back. */
    if (action == NO_SPACE && (kind == UNLINK || (control->sticky && kind == SYNC))) return PASS;
    if (action == KILL || (action == TORN && kind != WRITE)) die();
    if (action == IO_ERROR) errno = EIO;
    if (action == NO_SPACE) errno = ENOSPC;
    return action;
}

static bool fails(int action) { return action == IO_ERROR || action == NO_SPACE; }

/* The call `made` with its fault and its record; `logged` is an expression that records it. */
#define CHANGE(kind, made, logged)          \
    pthread_mutex_lock(&lock);              \
    int action = next(kind);                \
    __typeof__(made) result = -1;           \
    if (!fails(action)) {                   \
        result = made;                      \
        int before = errno;                 \
        if (result >= 0) logged;            \
        errno = before;                     \
    }                                       \
    int error = errno;                      \
    pthread_mutex_unlock(&lock);            \
    errno = error;                          \
    return result

static ssize_t write_watched(int descriptor, const void *data, size_t size, int64_t offset) {
    pthread_mutex_lock(&lock);
    int action = next(WRITE);
    ssize_t written = -1;
    if (!fails(action)) {
        if (action == TORN) size = (size + 1) / 2;
        written = offset < 0 ? REAL(write)(descriptor, data, size) : REAL(pwrite64)(descriptor, data, size, offset);
        if (action == TORN) die();
        int before = errno;
        if (written > 0) {
            uint64_t start = offset < 0 ? (uint64_t)lseek(descriptor, 0, SEEK_CUR) - written : (uint64_t)offset;
            record(WRITE, inode_of(descriptor), "", "", data, written, start);
        }
        errno = before;
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

static ssize_t write_parts(int descriptor, const struct iovec *parts, int count, int64_t offset) {
    size_t size = 0, filled = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    char *whole = malloc(size ? size : 1);
    if (!whole) abort();
    for (int i = 0; i < count; filled += parts[i++].iov_len) memcpy(whole + filled, parts[i].iov_base, parts[i].iov_len);
    ssize_t written = write_watched(descriptor, whole, size, offset);
    int error = errno;
    free(whole);
    errno = error;
    return written;
}

ssize_t write(int descriptor, const void *data, size_t size) {
    return watches(descriptor) ? write_watched(descriptor, data, size, -1) : REAL(write)(descriptor, data, size);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset) {
    return watches(descriptor) ? write_watched(descriptor, data, size, offset)
                               : REAL(pwrite64)(descriptor, data, size, offset);
}
ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    return pwrite64(descriptor, data, size, offset);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    return watches(descriptor) ? write_parts(descriptor, parts, count, -1) : REAL(writev)(descriptor, parts, count);
}

ssize_t pwritev64v2(int descriptor, const struct iovec *parts, int count, off64_t offset, int flags) {
    return watches(descriptor) ? write_parts(descriptor, parts, count, offset)
                               : REAL(pwritev64v2)(descriptor, parts, count, offset, flags);
}
ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off64_t offset) {
    return pwritev64v2(descriptor, parts, count, offset, 0);
}
ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    return pwritev64v2(descriptor, parts, count, offset, 0);
}

/* These would copy behind the shim's back; every caller knows how to do without them. */
ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *target, size_t size, unsigned flags) {
    if (!watches(to)) return REAL(copy_file_range)(from, start, to, target, size, flags);
    errno = EXDEV;
    return -1;
}
ssize_t sendfile64(int to, int from, off64_t *start, size_t size) {
    if (!watches(to)) return REAL(sendfile64)(to, from, start, size);
    errno = EINVAL;
    return -1;
}

/* Not recorded: space that is only kept has no octets that anybody reads after a crash. */
int posix_fallocate64(int descriptor, off64_t offset, off64_t size) {
    if (!watches(descriptor)) return REAL(posix_fallocate64)(descriptor, offset, size);
    pthread_mutex_lock(&lock);
    int action = next(WRITE);
    if (action == TORN) die();
    int error = fails(action) ? errno : REAL(posix_fallocate64)(descriptor, offset, size);
    pthread_mutex_unlock(&lock);
    return error;
}

int ftruncate64(int descriptor, off64_t size) {
    if (!watches(descriptor)) return REAL(ftruncate64)(descriptor, size);
    CHANGE(TRUNCATE, REAL(ftruncate64)(descriptor, size), record(TRUNCATE, inode_of(descriptor), "", "", "", 0, size));
}
int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }

/* A slow disk: whoever syncs waits for it, and nobody else does. */
static void wait_if_slow(void) {
    if (control->at && control->action == SLOW) sleep(SLOW_SECONDS);
}

static int sync_watched(int descriptor, int (*sync)(int)) {
    wait_if_slow();
    pthread_mutex_lock(&lock);
    int action = next(SYNC), result = fails(action) ? -1 : action == LIE ? 0 : sync(descriptor);
    int error = errno;
    if (action != LIE) record(result ? SYNC_FAILED : SYNC, inode_of(descriptor), "", "", "", 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int fsync(int descriptor) {
    return watches(descriptor) ? sync_watched(descriptor, REAL(fsync)) : REAL(fsync)(descriptor);
}
int fdatasync(int descriptor) {
    return watches(descriptor) ? sync_watched(descriptor, REAL(fdatasync)) : REAL(fdatasync)(descriptor);
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags) {
    char path[PATH];
    if (!absolute(to_directory, to, path)) return REAL(linkat)(from_directory, from, to_directory, to, flags);
    CHANGE(LINK, REAL(linkat)(from_directory, from, to_directory, to, flags),
           record(LINK, inode_at(path), path, "", "", 0, 0));
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int directory, const char *name, int flags) {
    char path[PATH];
    if (!absolute(directory, name, path)) return REAL(unlinkat)(directory, name, flags);
    CHANGE(UNLINK, REAL(unlinkat)(directory, name, flags), record(UNLINK, 0, path, "", "", 0, 0));
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
    char path[PATH], old[PATH];
    bool from_here = absolute(from_directory, from, old);
    /* What comes from elsewhere or goes there has a history that was not recorded. */
    if (absolute(to_directory, to, path) != from_here) abort();
    if (!from_here) return REAL(renameat)(from_directory, from, to_directory, to);
    CHANGE(RENAME, REAL(renameat)(from_directory, from, to_directory, to),
           record(RENAME, inode_at(path), old, path, "", 0, 0));
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int mkdirat(int directory, const char *name, mode_t mode) {
    char path[PATH];
    /* One that is there already is no change. */
    if (!absolute(directory, name, path) || inode_at(path)) return REAL(mkdirat)(directory, name, mode);
    CHANGE(MAKE_DIRECTORY, REAL(mkdirat)(directory, name, mode),
           record(MAKE_DIRECTORY, inode_at(path), path, "", "", 0, 0));
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

static int open_watched(int directory, const char *name, int flags, mode_t mode, const char *path) {
    bool nameless = (flags & O_TMPFILE) == O_TMPFILE;
    uint64_t there = nameless ? 0 : inode_at(path);
    if (there && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY) {
        CHANGE(TRUNCATE, REAL(openat64)(directory, name, flags, mode), record(TRUNCATE, there, "", "", "", 0, 0));
    }
    if (there || !(flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))) return REAL(openat64)(directory, name, flags, mode);
    CHANGE(CREATE, REAL(openat64)(directory, name, flags, mode),
           record(CREATE, inode_of(result), nameless ? "" : path, "", "", 0, 0));
}

#define MODE                              \
    mode_t mode = 0;                      \
    if (flags & (O_CREAT | O_TMPFILE)) {  \
        va_list rest;                     \
        va_start(rest, flags);            \
        mode = va_arg(rest, mode_t);      \
        va_end(rest);                     \
    }

int openat64(int directory, const char *name, int flags, ...) {
    MODE;
    char path[PATH];
    return absolute(directory, name, path) ? open_watched(directory, name, flags, mode, path)
                                           : REAL(openat64)(directory, name, flags, mode);
}
int open64(const char *name, int flags, ...) {
    MODE;
    return openat64(AT_FDCWD, name, flags, mode);
}
int open(const char *name, int flags, ...) {
    MODE;
    return openat64(AT_FDCWD, name, flags, mode);
}
int openat(int directory, const char *name, int flags, ...) {
    MODE;
    return openat64(directory, name, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static __typeof__(&clock_gettime) asked;
    if (!asked) asked = REAL(clock_gettime);
    int result = asked(clock, now);
    if (!result && control && clock == CLOCK_REALTIME) now->tv_sec += control->clock_offset;
    return result;
}
