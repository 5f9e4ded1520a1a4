/* Stands between a program and the C library where files become durable and where the wall clock is read, and does
 * what a page of shared memory says: counts calls, makes one fail, cut short, or end the process as a power cut would.
 *
 * Loaded by LD_PRELOAD. The environment names the page's file (KOSEKI_FAULT_PAGE), the directory whose files are
 * meant (KOSEKI_FAULT_ROOT) and the file that every matching call is written to (KOSEKI_FAULT_TRACE).
 * `tests/src/faults.rs` knows the page's form and fills it in while the program runs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum call { OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, UNLINK = 16, TRUNCATE = 32, MKDIR = 64 };
enum deed { PASS, KILL_BEFORE, KILL_AFTER, TEAR, FAIL, CUT, STALL };

struct page {
	uint64_t armed;    /* nothing is counted before */
	uint64_t deed;     /* what happens to a call that is hit */
	uint64_t error;    /* errno of FAIL */
	uint64_t first;    /* number of the first matching call that is hit, from 1 */
	uint64_t count;    /* how many are hit */
	uint64_t calls;    /* kinds that match */
	int64_t shift;     /* seconds that the wall clock is off; also while not armed */
	uint64_t seen;     /* matching calls */
	uint64_t fired;    /* calls that were hit */
	uint64_t reserved[7];
	char path[256];    /* stands in the path below the root of every call that matches; before a $, at its end */
};

static struct page *page;
static int trace_fd = -1;
static char root[4096];

__attribute__((constructor)) static void begin(void)
{
	const char *file = getenv("KOSEKI_FAULT_PAGE"), *trace = getenv("KOSEKI_FAULT_TRACE");
	const char *below = getenv("KOSEKI_FAULT_ROOT");
	if (!file || !trace || !below)
		return;
	int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
	trace_fd = syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_APPEND | O_CLOEXEC);
	void *at = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	snprintf(root, sizeof root, "%s/", below);
	/* A fault test without its faults would pass for nothing. */
	if (fd < 0 || trace_fd < 0 || at == MAP_FAILED)
		abort();
	close(fd);
	page = at;
}

static void die(void)
{
	syscall(SYS_kill, getpid(), SIGKILL);
	for (;;)
		pause();
}

static void note(uint64_t number, const char *name, const char *path, int hit)
{
	char line[4400];
	int length = snprintf(line, sizeof line, "%llu %s %s%s\n", (unsigned long long)number, name, path, hit ? " HIT" : "");
	if (syscall(SYS_write, trace_fd, line, (size_t)length) != length)
		abort();
}

static int matches(const char *path)
{
	size_t length = strlen(path), wanted = strlen(page->path);
	if (!wanted || page->path[wanted - 1] != '$')
		return strstr(path, page->path) != NULL;
	wanted--;
	return length >= wanted && memcmp(path + length - wanted, page->path, wanted) == 0;
}

/* What is to happen to this call. */
static enum deed judge(enum call call, const char *name, const char *path)
{
	size_t length = strlen(root);
	if (!page || !__atomic_load_n(&page->armed, __ATOMIC_ACQUIRE) || strncmp(path, root, length) != 0)
		return PASS;
	path += length;
	if (!(page->calls & call) || !matches(path))
		return PASS;
	uint64_t number = __atomic_add_fetch(&page->seen, 1, __ATOMIC_ACQ_REL);
	enum deed deed = page->deed;
	int hit = deed != PASS && number >= page->first && number - page->first < page->count;
	note(number, name, path, hit);
	if (!hit)
		return PASS;
	__atomic_add_fetch(&page->fired, 1, __ATOMIC_ACQ_REL);
	if (deed == KILL_BEFORE)
		die();
	if (deed == STALL) {
		/* Until nothing is armed any more: a disk or an HSM that hangs, and then goes on. */
		struct timespec pause = { 0, 5000000 };
		while (__atomic_load_n(&page->armed, __ATOMIC_ACQUIRE))
			nanosleep(&pause, NULL);
		return PASS;
	}
	return deed;
}

static enum deed judge_fd(enum call call, const char *name, int fd)
{
	char link[64], path[4096];
	/* What a program says is none of its files. */
	if (fd <= STDERR_FILENO || !page || !__atomic_load_n(&page->armed, __ATOMIC_ACQUIRE))
		return PASS;
	int saved = errno;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof path - 1);
	errno = saved;
	if (length < 0)
		return PASS;
	path[length] = 0;
	return judge(call, name, path);
}

static enum deed judge_at(enum call call, const char *name, int directory, const char *path)
{
	char link[64], whole[8300];
	if (!page || path[0] == '/')
		return judge(call, name, path);
	snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
	ssize_t length = readlink(directory == AT_FDCWD ? "/proc/self/cwd" : link, whole, 4096);
	if (length < 0)
		return PASS;
	snprintf(whole + length, sizeof whole - (size_t)length, "/%s", path);
	return judge(call, name, whole);
}

static long failed(void)
{
	errno = (int)page->error;
	return -1;
}

/* After the call itself. */
static long done(enum deed deed, long result)
{
	if (deed == KILL_AFTER || deed == TEAR)
		die();
	return result;
}

static size_t cut(enum deed deed, size_t length)
{
	return (deed == CUT || deed == TEAR) && length > 1 ? length / 2 : length;
}

static int opened(int directory, const char *path, int flags, mode_t mode)
{
	enum deed deed = PASS;
	if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT))
		deed = judge_at(OPEN, "open", directory, path);
	if (deed == FAIL)
		return (int)failed();
	return (int)done(deed, syscall(SYS_openat, directory, path, flags | O_LARGEFILE, mode));
}

static mode_t mode_of(int flags, va_list more)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

#define OPENING(name, first, directory)                             \
	int name(first const char *path, int flags, ...)            \
	{                                                           \
		va_list more;                                       \
		va_start(more, flags);                              \
		mode_t mode = mode_of(flags, more);                 \
		va_end(more);                                       \
		return opened(directory, path, flags, mode);        \
	}
#define COMMA ,
OPENING(open, , AT_FDCWD)
OPENING(open64, , AT_FDCWD)
OPENING(openat, int at COMMA, at)
OPENING(openat64, int at COMMA, at)

ssize_t write(int fd, const void *bytes, size_t length)
{
	enum deed deed = judge_fd(WRITE, "write", fd);
	if (deed == FAIL)
		return failed();
	return done(deed, syscall(SYS_write, fd, bytes, cut(deed, length)));
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
	enum deed deed = judge_fd(WRITE, "pwrite", fd);
	if (deed == FAIL)
		return failed();
	return done(deed, syscall(SYS_pwrite64, fd, bytes, cut(deed, length), at));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
	return pwrite64(fd, bytes, length, at);
}

/* Only the first piece is written when it is cut: a short write as good as any. */
ssize_t writev(int fd, const struct iovec *pieces, int count)
{
	enum deed deed = judge_fd(WRITE, "writev", fd);
	if (deed == FAIL)
		return failed();
	if (count > 0 && (deed == CUT || deed == TEAR))
		return done(deed, syscall(SYS_write, fd, pieces[0].iov_base, cut(deed, pieces[0].iov_len)));
	return done(deed, syscall(SYS_writev, fd, pieces, count));
}

static int synced(int fd, const char *name, long number)
{
	enum deed deed = judge_fd(SYNC, name, fd);
	if (deed == FAIL)
		return (int)failed();
	return (int)done(deed, syscall(number, fd));
}

int fsync(int fd) { return synced(fd, "fsync", SYS_fsync); }

int fdatasync(int fd) { return synced(fd, "fdatasync", SYS_fdatasync); }

int ftruncate64(int fd, off64_t length)
{
	enum deed deed = judge_fd(TRUNCATE, "ftruncate", fd);
	if (deed == FAIL)
		return (int)failed();
	return (int)done(deed, syscall(SYS_ftruncate, fd, length));
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int renameat(int from_at, const char *from, int to_at, const char *to)
{
	enum deed deed = judge_at(RENAME, "rename", to_at, to);
	if (deed == FAIL)
		return (int)failed();
	return (int)done(deed, syscall(SYS_renameat2, from_at, from, to_at, to, 0));
}

int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int unlinkat(int at, const char *path, int flags)
{
	enum deed deed = judge_at(UNLINK, "unlink", at, path);
	if (deed == FAIL)
		return (int)failed();
	return (int)done(deed, syscall(SYS_unlinkat, at, path, flags));
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode)
{
	enum deed deed = judge_at(MKDIR, "mkdir", AT_FDCWD, path);
	if (deed == FAIL)
		return (int)failed();
	return (int)done(deed, syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int)syscall(SYS_clock_gettime, clock, now);
	if (result == 0 && page && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += __atomic_load_n(&page->shift, __ATOMIC_ACQUIRE);
	return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;
	(void)zone;
	int result = clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return result;
}

time_t time(time_t *seconds)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (seconds)
		*seconds = now.tv_sec;
	return now.tv_sec;
}
