/* SPDX-License-Identifier: GPL-2.0-only */
/* Zeroed memory, accounted, that a process may map too. */
#ifndef __KVM_USER_MEM_H
#define __KVM_USER_MEM_H

#include <linux/mm_types.h>
#include <linux/types.h>

struct kvm_user_mem {
	struct page **pages;
	unsigned long nr;
	void *addr;
};

int kvm_user_mem_init(struct kvm_user_mem *m, u64 size);
void kvm_user_mem_free(struct kvm_user_mem *m);
/* All of it or its beginning; for reading only, then and later, unless @write. */
int kvm_user_mem_map(const struct kvm_user_mem *m, struct vm_area_struct *vma, bool write);

#endif
