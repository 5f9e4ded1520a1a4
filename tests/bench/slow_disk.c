/* Stands between a program and the C library where files are flushed, and makes each flush take longer, as on a slower
 * disk. Loaded by LD_PRELOAD; KOSEKI_FLUSH_US says by how many microseconds. `tests/src/bench/slow_disk.rs` builds it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct timespec longer;

__attribute__((constructor)) static void begin(void)
{
	const char *told = getenv("KOSEKI_FLUSH_US");
	char *end;
	long us = told ? strtol(told, &end, 10) : 0;
	/* A slow disk that is not slow would be believed for nothing. */
	if (us <= 0 || *end)
		abort();
	longer.tv_sec = us / 1000000;
	longer.tv_nsec = us % 1000000 * 1000;
}

static int flush(long call, int fd)
{
	struct timespec left = longer;
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
	return (int)syscall(call, fd);
}

int fsync(int fd)
{
	return flush(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	return flush(SYS_fdatasync, fd);
}
