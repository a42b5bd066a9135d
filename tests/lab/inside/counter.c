/* PID 1 of a guest that shows whether its disk survives: it counts, on the disk.
 *
 * Every PERIOD ms it writes the next number to its first disk, with O_DIRECT and fsync: first into
 * a ring of slots, then into slot 0, and reports it on the console only then. When it starts it
 * goes on from what slot 0 says, in the next one of PARTS parts of the ring: so what two boots
 * write in step, one does not hide from the other. After an error it reports that, and tries the
 * same number again.
 *
 * With scan=N on the kernel's command line it first reads N MiB from behind the ring.
 *
 * A slot is 4096 bytes that begin with "VMHA <number> <boot> <found> <seconds> <part>\n"; <boot> is
 * another random number for every boot, <found> what that boot has found in slot 0, <seconds> this
 * guest's own clock, <part> the part of the ring it writes to.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SLOT = 4096, RING = 8192, PARTS = 8, PERIOD_MS = 200 };

static const char *const modules[] = {
	"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
	"virtio_blk",
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void load(const char *name)
{
	char path[64];
	int file;

	snprintf(path, sizeof(path), "/modules/%s.ko", name);
	file = open(path, O_RDONLY);
	if (file < 0 || syscall(SYS_finit_module, file, "", 0))
		printf("VMHA MODULE %s: %s\n", name, strerror(errno));
	close(file);
}

static int open_disk(void)
{
	int disk = -1;

	for (int i = 0; i < 300 && disk < 0; i++) {
		disk = open("/dev/vda", O_RDWR | O_DIRECT);
		if (disk < 0)
			usleep(50000);
	}
	return disk;
}

static int write_slot(int disk, const char *block, long slot)
{
	return pwrite(disk, block, SLOT, (off_t)slot * SLOT) == SLOT ? 0 : -1;
}

static void scan(int disk, long megabytes)
{
	char *block;

	if (posix_memalign((void **)&block, SLOT, 1 << 20))
		return;
	for (long i = 0; i < megabytes; i++) {
		if (pread(disk, block, 1 << 20, (off_t)(i + 33) << 20) != 1 << 20) {
			printf("VMHA SCANERROR %ld: %s\n", i, strerror(errno));
			break;
		}
	}
	free(block);
	printf("VMHA SCANNED\n");
}

int main(void)
{
	uint64_t boot = 0;
	long count = 0, found, part = 0, slot, megabytes = 0;
	char *block, *option, line[1024] = "";
	int disk, file;

	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, "");
	mount("devtmpfs", "/dev", "devtmpfs", 0, "");
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(modules) / sizeof(*modules); i++)
		load(modules[i]);
	file = open("/dev/urandom", O_RDONLY);
	if (file < 0 || read(file, &boot, sizeof(boot)) != sizeof(boot))
		boot = (uint64_t)(now() * 1e6);
	close(file);

	disk = open_disk();
	if (disk < 0 || posix_memalign((void **)&block, SLOT, SLOT)) {
		printf("VMHA NODISK %s\n", strerror(errno));
		for (;;)
			pause();
	}
	file = open("/proc/cmdline", O_RDONLY);
	if (read(file, line, sizeof(line) - 1) > 0 && (option = strstr(line, "scan=")))
		megabytes = atol(option + 5);
	close(file);
	if (megabytes)
		scan(disk, megabytes);
	while (pread(disk, block, SLOT, 0) != SLOT) {
		printf("VMHA IOERROR 0 boot=%016llx t=%.3f %s\n", (unsigned long long)boot, now(),
		       strerror(errno));
		usleep(PERIOD_MS * 1000);
	}
	block[SLOT - 1] = 0;
	if (sscanf(block, "VMHA %ld %*s %*s %*s %ld", &count, &part) == 2)
		part = (part + 1) % PARTS;
	else
		count = part = 0;
	found = count;
	printf("VMHA START %ld boot=%016llx t=%.3f\n", count, (unsigned long long)boot, now());
	for (;;) {
		memset(block, 0, SLOT);
		snprintf(block, SLOT, "VMHA %ld %016llx %ld %.3f %ld\n", count + 1,
			 (unsigned long long)boot, found, now(), part);
		slot = 1 + part * (RING / PARTS) + (count + 1) % (RING / PARTS);
		if (write_slot(disk, block, slot) || write_slot(disk, block, 0) ||
		    fsync(disk))
			printf("VMHA IOERROR %ld boot=%016llx t=%.3f %s\n", count + 1,
			       (unsigned long long)boot, now(), strerror(errno));
		else
			printf("VMHA COUNT %ld boot=%016llx t=%.3f\n", ++count,
			       (unsigned long long)boot, now());
		usleep(PERIOD_MS * 1000);
	}
}
