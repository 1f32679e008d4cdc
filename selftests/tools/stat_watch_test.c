// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * What `rmio stat` makes of what VMs say: lines of 80 columns and their order, plans with equal
 * lines folded, commands for bpftool; and --watch on a terminal, with keys.  The VMs are made up.
 */
#include "run_rmio.h"
#include "stat/read.h"
#include "stat/rows.h"
#include "stat/stat.h"

#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct rmio_run r;
static char path[64];

/* -- made-up VMs -------------------------------------------------------------------- */

struct numbers {
	const char *name, *backend, *state;
	long long posted, kernel, loads, shadow, slow;
};

static void add_numbers(char **at, const struct numbers *d, int slot)
{
	*at += sprintf(*at, "%s{\"slot\":%d,\"name\":\"%s\",\"socket\":null,\"rmio\":%s,\"state\":"
		       "\"%s\",\"backend\":\"%s\",\"counters\":{\"posted\":%lld,\"loads\":%lld,"
		       "\"shadow\":%lld},\"lane\":{\"slots\":2048,\"posted\":%lld,\"load_ns\":"
		       "[0,0,0,0,0,0,0,0,0,0,%lld]},\"vcpus\":[{\"posted\":%lld,\"loads\":%lld,"
		       "\"lane\":{\"posted\":%lld}}],\"plan\":[]}", slot ? "," : "", slot + 1,
		       d->name, *d->backend ? "true" : "false", d->state, d->backend, d->posted,
		       d->loads, d->shadow, d->kernel, d->slow, d->posted, d->loads, d->kernel);
}

static char *vm_line(int pid, long long seconds, const struct numbers *d, int n)
{
	static char text[65536];
	char *at = text;

	at += sprintf(at, "{\"schema\":1,\"pid\":%d,\"vcpus\":1,\"memory\":67108864,\"backend\":\"bpf\","
		      "\"time_ns\":%lld,\"devices\":[", pid, seconds * 1000000000);
	for (int i = 0; i < n; i++)
		add_numbers(&at, &d[i], i);
	sprintf(at, "]}");
	return text;
}

/* -- lines -------------------------------------------------------------------------- */

static const struct numbers before[] = {
	{ "edu", "bpf", "live", 1000, 900, 10, 100, 5 },
	{ "a-name-that-is-longer-than-there-is-room-for", "exit", "live", 0, 0, 0, 0, 0 },
	{ "uart", "kvm", "live", 500, 0, 0, 0, 0 },
	{ "foreign", "", "", 0, 0, 0, 0, 0 },
	{ "disk", "bpf", "closed", 7, 7, 7, 7, 7 },
};
static const struct numbers after[] = {
	{ "edu", "bpf", "live", 3000, 2700, 30, 500, 45 },
	{ "a-name-that-is-longer-than-there-is-room-for", "exit", "live", 4000000000000000, 0,
	  9000000000000000, 0, 0 },
	{ "uart", "kvm", "live", 700, 0, 0, 80, 0 },
	{ "foreign", "", "", 0, 0, 0, 0, 0 },
	{ "disk", "bpf", "closed", 7, 7, 7, 7, 7 },
};

static void lines(void)
{
	struct stat_vm vm;
	struct stat_row *rows;
	char line[STAT_COLUMNS];
	size_t n;

	vm.before = json_tokener_parse(vm_line(4242, 10, before, 5));
	vm.now = json_tokener_parse(vm_line(4242, 12, after, 5));
	T_REQUIRE(T_OK(vm.before && vm.now));
	n = stat_rows(&vm, 1, &rows);
	T_REQUIRE(T_EQ(n, 5));
	/* A second, of two. */
	T_EQ(rows[0].by[STAT_BY_DEVICE], 10);
	T_EQ(rows[0].by[STAT_BY_SHADOW], 200);
	T_EQ(rows[0].by[STAT_BY_KERNEL], 900);
	T_EQ(rows[0].by[STAT_BY_EXIT], 100);
	T_EQ(rows[0].by[STAT_BY_P99], 2048);
	/* The kernel device takes all of them. */
	T_EQ(rows[2].by[STAT_BY_KERNEL], 100);
	T_EQ(rows[2].by[STAT_BY_EXIT], 0);
	T_EQ(rows[4].by[STAT_BY_KERNEL], 0);
	for (int k = 0; k < STAT_KEYS; k++) {
		stat_rows_head(line, k, k & 1);
		T_LT(strlen(line), STAT_COLUMNS);
		T_SAYS(line, stat_key_name(k));
	}
	T_SAYS(line, "device");
	T_SAYS(line, "shadow");
	T_SAYS(line, "kernel");
	T_SAYS(line, "exit");
	for (size_t i = 0; i < n; i++) {
		stat_rows_line(line, &rows[i]);
		ktap_diag("%s", line);
		T_LT(strlen(line), STAT_COLUMNS);
	}
	stat_rows_line(line, &rows[0]);
	T_STREQ(line, "   4242     1 edu                     10      200      900      100   2048ns");
	stat_rows_line(line, &rows[3]);
	T_SAYS(line, "no rings");
	stat_rows_line(line, &rows[4]);
	T_SAYS(line, "disk (closed)");

	stat_rows_sort(rows, n, STAT_BY_KERNEL, false);
	T_EQ(rows[0].by[STAT_BY_SLOT], 1);
	T_EQ(rows[1].by[STAT_BY_SLOT], 3);
	/* What is equal stays in its order. */
	T_EQ(rows[2].by[STAT_BY_SLOT], 2);
	T_EQ(rows[4].by[STAT_BY_SLOT], 5);
	stat_rows_sort(rows, n, STAT_BY_EXIT, true);
	T_EQ(rows[4].by[STAT_BY_SLOT], 2);
	stat_rows_sort(rows, n, STAT_BY_SLOT, true);
	T_EQ(rows[0].by[STAT_BY_SLOT], 5);
	stat_rows_sort(rows, n, STAT_BY_SLOT, false);
	T_EQ(rows[0].by[STAT_BY_SLOT], 1);
	free(rows);
	json_object_put(vm.now);
	json_object_put(vm.before);
}

/* -- plans, maps ------------------------------------------------------------------------ */

static char *printed(void (*print)(FILE *f, struct json_object *o), const char *json)
{
	struct json_object *o = json_tokener_parse(json);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	T_OK(o != NULL);
	print(f, o);
	fclose(f);
	json_object_put(o);
	return text;
}

#define ENTRY(off, what, by, n, why)						\
	"{\"range\":0,\"offset\":" off ",\"length\":4,\"access\":\"" what "\",\"mechanism\":\"" by	\
	"\",\"through\":false,\"count\":" n ",\"why\":\"" why "\"}"

static void folded(void)
{
	char *text = printed(stat_view_plan, "{\"plan\":["
		ENTRY("0", "load", "exit", "0", "not relaxed") ","
		ENTRY("0", "store", "ioeventfd", "0", "an area of one register") ","
		ENTRY("4", "load", "exit", "0", "not relaxed") ","
		ENTRY("4", "store", "ioeventfd", "679968", "an area of one register") ","
		ENTRY("8", "load", "exit", "0", "not relaxed") ","
		ENTRY("16", "store", "ioeventfd", "0", "an area of one register") "]}");
	int n = 0;

	for (char *c = text; *c; c++)
		n += *c == '\n';
	/* The head, the loads, the stores that nobody has made, the hot one. */
	T_EQ(n, 4);
	T_SAYS(text, "      0x4   3  load  exit              -  not relaxed; the last at 0x8\n");
	T_SAYS(text, "      0x4   2  store ioeventfd         0  an area of one register; the last at 0x10\n");
	T_SAYS(text, "      0x4   1  store ioeventfd    679968  an area of one register\n");
	free(text);

	text = printed(stat_view_plan, "{\"plan\":[],\"plan_why\":\"no range is placed\"}");
	T_STREQ(text, "  no plan: no range is placed\n");
	free(text);
}

static void maps(void)
{
	char *text = printed(stat_view_maps, "{\"pid\":7,\"program\":{\"id\":33456,\"maps\":"
		"{\"vcpus\":145058}},"
		"\"devices\":[{\"slot\":1,\"name\":\"edu\",\"maps\":{\"lanes\":145073,\"up\\u001b\":9}}]}");

	T_SAYS(text, "\nbpftool prog show id 33456 ");
	T_SAYS(text, "\nbpftool map dump id 145058 ");
	T_SAYS(text, "# vcpus\n");
	T_SAYS(text, "\nbpftool map dump id 145073 ");
	T_SAYS(text, "# lanes of slot 1 edu\n");
	T_OK(!strchr(text, '\033'));
	free(text);
	text = printed(stat_view_maps, "{\"pid\":7,\"program\":null}");
	T_SAYS(text, "no BPF program, no maps");
	free(text);
}

/* -- the terminal ------------------------------------------------------------------------- */

/* Answers each newline, with a second more and what has come in it, until it is killed. */
static pid_t fake_vmm(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct numbers d[3];
	int s, fd;
	pid_t pid;
	char c;

	snprintf(path, sizeof(path), "/tmp/stat-watch-%d.sock", getpid());
	unlink(path);
	strcpy(at.sun_path, path);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	T_EQ(bind(s, (struct sockaddr *)&at, sizeof(at)), 0);
	T_EQ(listen(s, 1), 0);
	pid = fork();
	if (!pid) {
		memcpy(d, before, sizeof(d));
		fd = accept(s, NULL, NULL);
		for (int t = 1; read(fd, &c, 1) == 1; t++) {
			const char *line = vm_line(4242, t, d, 3);

			if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0 ||
			    send(fd, "\n", 1, MSG_NOSIGNAL) < 0)
				break;
			d[0].posted += 77777;
			d[0].kernel += 66666;
			d[2].shadow += 55555;
		}
		_exit(0);
	}
	close(s);
	return pid;
}

/* All that came so far; waits for the words. */
static bool sees(int fd, const char *words)
{
	static char all[1 << 20];
	static size_t len;
	long long until = ktap_now_ms() + 30000;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (!words)
		len = 0;
	all[len] = 0;
	while (words && !strstr(all, words) && ktap_now_ms() < until) {
		ssize_t n;

		if (poll(&p, 1, 100) != 1)
			continue;
		n = read(fd, all + len, sizeof(all) - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
		all[len] = 0;
	}
	if (!words || strstr(all, words)) {
		/* What comes next is looked for in what is new. */
		len = 0;
		return true;
	}
	for (size_t i = 0; i < len; i++)
		if (all[i] == '\033')
			all[i] = '~';
	ktap_diag("no \"%s\" in \"%.3000s\"", words, all);
	return false;
}

static pid_t on_terminal(int *fd, const char *term)
{
	const struct winsize size = { .ws_row = 24, .ws_col = 80 };
	pid_t pid = forkpty(fd, NULL, NULL, &size);

	if (!pid) {
		setenv("TERM", term, 1);
		execl(getenv("RMIO") ? getenv("RMIO") : "./rmio", "rmio", "stat", "--watch", path, NULL);
		_exit(127);
	}
	return pid;
}

static int ended(pid_t pid, int fd)
{
	char rest[4096];
	int status = -1;

	/* It could not end while nobody reads. */
	while (read(fd, rest, sizeof(rest)) > 0)
		;
	waitpid(pid, &status, 0);
	close(fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

static bool with_keys(void)
{
	T_EQ(rmio_run(&r, (const char *const []){ "stat", "--help", NULL }), 0);
	return !strstr(r.out, "without ncurses");
}

static void keys(void)
{
	pid_t vmm, pid;
	int fd;

	if (!with_keys())
		T_SKIP("built without ncurses", "install libncurses-dev and build again");
	vmm = fake_vmm();
	pid = on_terminal(&fd, "xterm");
	sees(fd, NULL);
	T_OK(sees(fd, "by slot"));
	T_OK(sees(fd, "66666"));
	T_EQ(write(fd, "s", 1), 1);
	T_OK(sees(fd, "device"));
	/* The right arrow, as xterm has it with its keypad on. */
	T_EQ(write(fd, "\033OC", 3), 3);
	T_OK(sees(fd, "shadow"));
	T_EQ(write(fd, "\033OB\n", 4), 4);
	T_OK(sees(fd, "vCPU"));
	T_EQ(write(fd, "q", 1), 1);
	T_EQ(ended(pid, fd), 0);
	kill(vmm, SIGKILL);
	waitpid(vmm, NULL, 0);
	unlink(path);
}

/* The VM goes while it is watched: that is said when the terminal is as it was. */
static void vm_ends(void)
{
	pid_t vmm, pid;
	int fd;

	if (!with_keys())
		T_SKIP("built without ncurses", "install libncurses-dev and build again");
	vmm = fake_vmm();
	pid = on_terminal(&fd, "xterm");
	sees(fd, NULL);
	T_OK(sees(fd, "by slot"));
	kill(vmm, SIGKILL);
	waitpid(vmm, NULL, 0);
	T_OK(sees(fd, "the VM has ended"));
	T_EQ(ended(pid, fd), 0);
	unlink(path);
}

/* One that ncurses does not know gets the text that a pipe gets. */
static void strange_terminal(void)
{
	pid_t vmm = fake_vmm(), pid;
	int fd;

	pid = on_terminal(&fd, "no-such-terminal");
	sees(fd, NULL);
	T_OK(sees(fd, "edu"));
	kill(pid, SIGTERM);
	T_EQ(ended(pid, fd), 0);
	kill(vmm, SIGKILL);
	waitpid(vmm, NULL, 0);
	unlink(path);
}

static void options(void)
{
	T_EQ(rmio_run(&r, (const char *const []){ "stat", "--maps", "--json", NULL }), 2);
	T_SAYS(r.err, "--maps goes with neither");
	T_EQ(rmio_run(&r, (const char *const []){ "stat", "--maps", "--watch", NULL }), 2);
}

static const struct ktap_test tests[] = {
	{ "lines of 80 columns and their order", lines },
	{ "equal lines of a plan", folded },
	{ "commands for bpftool", maps },
	{ "keys on a terminal", keys },
	{ "a VM ends while it is watched", vm_ends },
	{ "a terminal that is not known", strange_terminal },
	{ "options", options },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
