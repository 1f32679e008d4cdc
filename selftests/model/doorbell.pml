/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * VMM to device: vCPUs that publish on lanes of their own ring the one bell of a device that sleeps.
 *
 * The device must see every message. One that sleeps for ever while a message is published is a
 * process that cannot move outside an end state, which spin reports as an invalid end state. The
 * letters are those of user/wake.h.
 *
 *   -DSOCKET              the bell is a socket that holds one byte, not a futex
 *   -DNO_PRODUCER_FENCE   leave out P2     -DNO_CONSUMER_FENCE  leave out C3
 *   -DNO_RECHECK          leave out C4     -DREAD_BELL_LATE     do C1 after C4
 *   -DSTALE_RUNG          C2 takes the same generation each time
 *   -DRING_FIRST          ring before publishing
 */
#ifndef MSGS
#define MSGS 2
#endif

#define PRODUCERS	2
#define DEVICE		2	/* the process after the producers */
#define PROCESSES	3

#define TAIL		0	/* one word for each producer */
#define NEED_WAKE	2
#define BELL		3
#define WORDS		4

#include "tso.pml"

byte rung;			/* private to the VMM, shared by its vCPU threads */

#ifdef SOCKET

/* A byte in the socket, and the completion that the multishot poll posts when one arrives. */
bool bytes, posted;

/* A full socket refuses the byte: MSG_DONTWAIT. */
inline ring_bell(p)
{
	atomic {
		empty(buffer[p]);
		if
		:: !bytes -> bytes = true; posted = true
		:: else
		fi
	}
}

inline bell_read()
{
	bytes = false
}

inline bell_wait()
{
	atomic { posted || !asleep_allowed -> posted = false; asleep_allowed = true }
}

bool asleep_allowed = true;

inline other_event()
{
	asleep_allowed = false
}

#else

inline ring_bell(p)
{
	atomic { empty(buffer[p]) -> mem[BELL]++ }
	futex_wake(p)
}

inline bell_read()
{
	b = mem[BELL]
}

inline bell_wait()
{
	futex_wait(BELL, b)
}

inline other_event()
{
	asleep = false
}

#endif

inline ring_if_needed(p)
{
	g = mem[NEED_WAKE];						/* P3 */
	if
	:: g != 0 ->						/* P4 */
		old = rung;
		if
		:: old != g -> atomic { empty(buffer[p]) -> old = rung; rung = g }
		:: else
		fi;
		if
		:: old != g -> ring_bell(p)
		:: else
		fi
	:: else
	fi
}

proctype producer(byte p)
{
	byte n, g, old;

	do
	:: n < MSGS ->
		n++;
#ifdef RING_FIRST
		ring_if_needed(p);
#endif
		store(p, TAIL + p, n);					/* P1 */
#ifndef NO_PRODUCER_FENCE
		fence(p);						/* P2 */
#endif
#ifndef RING_FIRST
		ring_if_needed(p)
#endif
	:: else -> break
	od
}

proctype device()
{
	byte seen0, seen1, b, generation;

	do
	:: seen0 = mem[TAIL];
	   seen1 = mem[TAIL + 1];
	   if
	   :: seen0 == MSGS && seen1 == MSGS -> break
	   :: else
	   fi;
#ifndef READ_BELL_LATE
	   bell_read();							/* C1 */
#endif
#ifdef STALE_RUNG
	   generation = 1;
#else
	   generation++;
#endif
	   store(DEVICE, NEED_WAKE, generation);			/* C2 */
#ifndef NO_CONSUMER_FENCE
	   fence(DEVICE);						/* C3 */
#endif
#ifndef NO_RECHECK
	   if								/* C4 */
	   :: mem[TAIL] != seen0 -> goto awake
	   :: else
	   fi;
	   if
	   :: mem[TAIL + 1] != seen1 -> goto awake
	   :: else
	   fi;
#endif
#ifdef READ_BELL_LATE
	   bell_read();
#endif
	   bell_wait();							/* C5 */
awake:
	   store(DEVICE, NEED_WAKE, 0)
	od
}

/* A timer or a message on the control socket, which the same wait returns for. */
proctype other()
{
	other_event()
}

init {
	atomic {
		run producer(0);
		run producer(1);
		run device();
		run drain(0);
		run drain(1);
		run drain(DEVICE);
		run other()
	}
}
