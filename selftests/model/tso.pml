/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Shared memory as an x86 processor gives it (TSO), and the futex, for the models beside this file.
 *
 * Each process writes shared words through a FIFO store buffer of its own, which a drain process
 * empties whenever it likes; a load reads memory. Store forwarding is left out because no process of
 * the protocol loads a word that it stores. A full fence waits for the buffer to be empty, and so
 * does every atomic read-modify-write.
 *
 * The includer defines PROCESSES and WORDS first.
 */

byte mem[WORDS];
chan buffer[PROCESSES] = [3] of { byte, byte };

inline store(p, w, v)
{
	buffer[p]!w, v
}

inline fence(p)
{
	empty(buffer[p])
}

proctype drain(byte p)
{
	byte w, v;

end_drain:
	do
	:: d_step { buffer[p]?w, v -> mem[w] = v; w = 0; v = 0 }
	od
}

/*
 * The one sleeper of each model. FUTEX_WAIT compares and falls asleep under the bucket's lock, in one
 * step as seen by FUTEX_WAKE; that it also drains the caller's buffer is not relied on. FUTEX_WAKE
 * begins with a full barrier in the kernel, which a plain store of the word before it does need.
 */
bool asleep;

inline futex_wait(w, expected)
{
	atomic {
		if
		:: mem[w] == expected -> asleep = true
		:: else
		fi
	}
	!asleep
}

inline futex_waitv(w1, expected1, w2, expected2)
{
	atomic {
		if
		:: mem[w1] == expected1 && mem[w2] == expected2 -> asleep = true
		:: else
		fi
	}
	!asleep
}

inline futex_wake(p)
{
	atomic { empty(buffer[p]) -> asleep = false }
}
