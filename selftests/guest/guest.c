// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Console, exit, accessors by size, lock and barrier for the flat guests.
 */
#include "guest.h"

#include <stdarg.h>

#define PORT_CONSOLE	0xe9
#define PORT_EXIT	0xf4

static struct spinlock console_lock;
static volatile uint32_t barrier_count, barrier_turn;

void guest_entry(uint64_t vcpu, uint64_t count, uint64_t arg, uint64_t rsp, uint64_t rflags)
{
	struct guest g = { vcpu, count, arg, rsp, rflags };
	int status = guest_main(&g);

	if (!vcpu)
		guest_exit((uint32_t)status);
	guest_halt();
}

_Noreturn void guest_exit(uint32_t status)
{
	outl(PORT_EXIT, status);
	guest_halt();
}

_Noreturn void guest_halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" ::: "memory");
}

void spin_lock(struct spinlock *l)
{
	while (__atomic_exchange_n(&l->held, 1, __ATOMIC_ACQUIRE))
		cpu_relax();
}

void spin_unlock(struct spinlock *l)
{
	__atomic_store_n(&l->held, 0, __ATOMIC_RELEASE);
}

void barrier(const struct guest *g)
{
	uint32_t turn = __atomic_load_n(&barrier_turn, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&barrier_count, 1, __ATOMIC_ACQ_REL) == g->count) {
		__atomic_store_n(&barrier_count, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&barrier_turn, turn + 1, __ATOMIC_RELEASE);
		return;
	}
	while (__atomic_load_n(&barrier_turn, __ATOMIC_ACQUIRE) == turn)
		cpu_relax();
}

static void put(char c)
{
	outb(PORT_CONSOLE, (uint8_t)c);
}

static void put_number(uint64_t v, unsigned int base, unsigned int width, char pad)
{
	char buf[24];
	unsigned int n = 0;

	do {
		buf[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (width > n) {
		put(pad);
		width--;
	}
	while (n)
		put(buf[--n]);
}

static void put_string(const char *s)
{
	while (*s)
		put(*s++);
}

static void vprint(const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		unsigned int width = 0;
		bool wide = false;
		char pad = ' ';
		int64_t d;

		if (*fmt != '%') {
			put(*fmt);
			continue;
		}
		if (*++fmt == '0') {
			pad = '0';
			fmt++;
		}
		while (*fmt >= '0' && *fmt <= '9')
			width = width * 10 + (unsigned int)(*fmt++ - '0');
		if (*fmt == 'l') {
			wide = true;
			fmt++;
		}
		switch (*fmt) {
		case 'd':
			d = wide ? va_arg(ap, long) : va_arg(ap, int);
			if (d < 0)
				put('-');
			put_number(d < 0 ? -(uint64_t)d : (uint64_t)d, 10, width, pad);
			break;
		case 'u':
		case 'x':
			put_number(wide ? va_arg(ap, unsigned long) : va_arg(ap, unsigned int),
				   *fmt == 'x' ? 16 : 10, width, pad);
			break;
		case 's':
			put_string(va_arg(ap, const char *));
			break;
		case 'c':
			put((char)va_arg(ap, int));
			break;
		case '%':
			put('%');
			break;
		default:
			return;
		}
	}
}

/* One call comes out in one piece, whatever other vCPUs print. */
void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	spin_lock(&console_lock);
	vprint(fmt, ap);
	spin_unlock(&console_lock);
	va_end(ap);
}

void expect_at(const char *what, uint64_t actual, uint64_t expected, const char *file, int line)
{
	if (actual == expected)
		return;
	print("FAIL %s: expected 0x%lx, actual 0x%lx (%s:%d)\n", what, expected, actual,
	      file, line);
	guest_exit(1);
}

_Noreturn void fail(const char *what)
{
	print("FAIL %s\n", what);
	guest_exit(1);
}

uint64_t mmio_load(uint64_t a, unsigned int size)
{
	switch (size) {
	case 1:
		return load8(a);
	case 2:
		return load16(a);
	case 4:
		return load32(a);
	default:
		return load64(a);
	}
}

void mmio_store(uint64_t a, unsigned int size, uint64_t v)
{
	switch (size) {
	case 1:
		store8(a, (uint8_t)v);
		break;
	case 2:
		store16(a, (uint16_t)v);
		break;
	case 4:
		store32(a, (uint32_t)v);
		break;
	default:
		store64(a, v);
		break;
	}
}

uint64_t size_mask(unsigned int size)
{
	return size == 8 ? ~0ull : (1ull << size * 8) - 1;
}

void *memcpy(void *restrict d, const void *restrict s, size_t n)
{
	void *ret = d;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) :: "memory");
	return ret;
}

void *memset(void *d, int c, size_t n)
{
	void *ret = d;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return ret;
}
