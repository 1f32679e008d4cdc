/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Device to VMM: a vCPU that sleeps until the done index of its lane reaches the value it waits for.
 *
 * The vCPU posts messages and waits, at any time, for any of them. The device, which polls here, may
 * die at any step; the VMM's control thread then marks it dead and kicks the vCPU through a private
 * word. A vCPU that sleeps for ever is an invalid end state. The letters are those of user/wake.h.
 *
 *   -DNO_PRODUCER_FENCE   leave out R2     -DNO_CONSUMER_FENCE  leave out V3
 *   -DNO_RECHECK          leave out V4     -DREAD_BELL_LATE     do V1 after V4
 *   -DSTALE_RUNG          V2 takes the same generation each time
 *   -DKICK_FIRST          the control thread kicks before it marks the device dead
 */
#ifndef MSGS
#define MSGS 3
#endif

#define DEVICE		0
#define VCPU		1
#define CONTROL		2
#define PROCESSES	3

#define TAIL		0	/* written by the vCPU */
#define WAKE_AT		1
#define NEED_WAKE	2
#define DONE		3	/* written by the device */
#define WAKE_SEQ	4
#define EVENT		5	/* written by the VMM's control thread */
#define DEAD		6
#define WORDS		7

#include "tso.pml"

bool died;

inline may_die()
{
	if
	:: died = true; goto end_device
	:: true
	fi
}

proctype device()
{
	byte done, w, at, woken, seq;

	do
	:: done < MSGS ->
		may_die();
		mem[TAIL] > done;
		done++;
		store(DEVICE, DONE, done);				/* R1 */
#ifndef NO_PRODUCER_FENCE
		fence(DEVICE);						/* R2 */
#endif
		w = mem[NEED_WAKE];					/* R3 */
		at = mem[WAKE_AT];
		if
		:: w != 0 && done >= at && w != woken ->
			woken = w;
			may_die();
			seq++;
			store(DEVICE, WAKE_SEQ, seq);			/* R4 */
			may_die();
			futex_wake(DEVICE)
		:: else
		fi
	:: else -> break
	od;
end_device:
	skip
}

proctype control()
{
end_control:
	died;
#ifdef KICK_FIRST
	store(CONTROL, EVENT, 1);
	futex_wake(CONTROL);
	store(CONTROL, DEAD, 1)
#else
	store(CONTROL, DEAD, 1);
	store(CONTROL, EVENT, 1);
	futex_wake(CONTROL)
#endif
}

inline read_words()
{
	s = mem[WAKE_SEQ];
	e = mem[EVENT]
}

proctype vcpu()
{
	byte posted, waited, target, s, e, generation;

	do
	:: posted < MSGS ->
		posted++;
		store(VCPU, TAIL, posted)
	:: waited < posted ->
		target = waited + 1;
		do
		:: target < posted -> target++
		:: break
		od;
		do
		:: if
		   :: mem[DONE] >= target -> break
		   :: else
		   fi;
		   if
		   :: mem[DEAD] -> break
		   :: else
		   fi;
#ifndef READ_BELL_LATE
		   read_words();					/* V1 */
#endif
#ifdef STALE_RUNG
		   generation = 1;
#else
		   generation++;
#endif
		   store(VCPU, WAKE_AT, target);			/* V2 */
		   store(VCPU, NEED_WAKE, generation);
#ifndef NO_CONSUMER_FENCE
		   fence(VCPU);						/* V3 */
#endif
#ifndef NO_RECHECK
		   if							/* V4 */
		   :: mem[DONE] >= target -> goto awake
		   :: else
		   fi;
		   if
		   :: mem[DEAD] -> goto awake
		   :: else
		   fi;
#endif
#ifdef READ_BELL_LATE
		   read_words();
#endif
		   futex_waitv(WAKE_SEQ, s, EVENT, e);			/* V5 */
awake:
		   store(VCPU, NEED_WAKE, 0)
		od;
		waited = target
	:: waited == MSGS -> break
	od
}

init {
	atomic {
		run device();
		run vcpu();
		run control();
		run drain(DEVICE);
		run drain(VCPU);
		run drain(CONTROL)
	}
}
