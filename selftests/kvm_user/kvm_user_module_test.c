// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The kernel device and KVM's modules: they stay as long as anything of a device is there, and can
 * go, and come back, right after it. Only in the VM of ./dev vm: elsewhere somebody may need them.
 */
#include "kvm_user_rig.h"

#include <sys/syscall.h>

/* Why there is nothing to test, or what to do about it: NULL, NULL. */
static const char *no_modules(const char **remedy)
{
	*remedy = "./dev vm --kernel patched";
	if (!getenv("RMIO_VM_KERNEL"))
		return "modules are taken away in the VM only";
	if (access("/sys/module/kvm_amd/refcnt", R_OK))
		return "KVM is built into this kernel";
	return NULL;
}

static int remove_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* The kernel frees files a moment after the call that closes them. */
static void remove_soon(const char *name)
{
	int err;

	UNTIL((err = remove_module(name)) != -EAGAIN);
	T_EQ(err, 0);
}

static bool insert_modules(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		execlp("modprobe", "modprobe", "-d", getenv("RMIO_VM_KERNEL"), "kvm-amd", NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return T_EQ(status, 0);
}

/* As modprobe -r has it: the vendor's, then KVM itself; and both again. */
static void there_and_back(unsigned int seconds)
{
	remove_soon("kvm_amd");
	remove_soon("kvm");
	sleep(seconds);
	insert_modules();
}

#define MODULES_START(...)						\
	do {								\
		const char *remedy_, *lacks_ = no_modules(&remedy_);	\
									\
		if (lacks_)						\
			T_SKIP(lacks_, remedy_);			\
		RIG_START(__VA_ARGS__);					\
	} while (0)

/* Nobody can take them away while it is there, and at once when it has gone. */
static void pinned(void)
{
	T_EQ(remove_module("kvm_amd"), -EAGAIN);
	T_EQ(remove_module("kvm"), -EAGAIN);
}

/* All but the slave has gone, then all but its mappings. */
static void by_slave(void)
{
	void *up, *down;

	MODULES_START();
	rig_close_master();
	pinned();
	vmm_vm_free(w.vm);
	pinned();
	T_EQ(rig_shadow_size(4096), -ENODEV);
	up = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_UP);
	down = mmap(NULL, 4096, PROT_READ, MAP_SHARED, w.slave, RMIO_KVM_MAP_DOWN);
	T_OK(up != MAP_FAILED && down != MAP_FAILED);
	rig_close_slave();
	pinned();
	munmap(up, 4096);
	pinned();
	munmap(down, 4096);
	/* What a device leaves, a timer for one, would run in freed memory: they wait a second. */
	there_and_back(2);
	/* And it works as before. */
	RIG_START();
	rig_serve();
	w.reg[0] = 0x21;
	g_begin(0);
	g_load(0, DEVICE, 1);
	g_end(0);
	T_OK(rig_run(0));
	T_EQ(w.vcpu[0].result[0], 0x21);
	rig_stop();
}

/* All but the master. */
static void by_master(void)
{
	MODULES_START();
	rig_close_slave();
	munmap((void *)w.down, w.down_size);
	w.down = NULL;
	vmm_vm_free(w.vm);
	pinned();
	rig_close_master();
	there_and_back(0);
}

static const struct ktap_test tests[] = {
	{ "the slave and its mappings keep the modules", by_slave },
	{ "the master keeps the modules", by_master },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
