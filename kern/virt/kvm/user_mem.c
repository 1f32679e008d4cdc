// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that the kernel, a vCPU's thread and a device process share: lanes and the
 * shadow image.  Charged to whoever asks for it.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "user_mem.h"

int kvm_user_mem_init(struct kvm_user_mem *m, u64 size)
{
	unsigned long i, nr = PAGE_ALIGN(size) >> PAGE_SHIFT;

	m->pages = kvcalloc(nr, sizeof(*m->pages), GFP_KERNEL_ACCOUNT);
	if (!m->pages)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		m->pages[i] = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!m->pages[i])
			goto free;
		m->nr = i + 1;
		cond_resched();
	}
	m->addr = vmap(m->pages, nr, VM_MAP, PAGE_KERNEL);
	if (!m->addr)
		goto free;
	return 0;

free:
	kvm_user_mem_free(m);
	return -ENOMEM;
}

void kvm_user_mem_free(struct kvm_user_mem *m)
{
	unsigned long i;

	vunmap(m->addr);
	for (i = 0; i < m->nr; i++)
		__free_page(m->pages[i]);
	kvfree(m->pages);
	memset(m, 0, sizeof(*m));
}

/* The pages stay while they are mapped. */
int kvm_user_mem_map(const struct kvm_user_mem *m, struct vm_area_struct *vma, bool write)
{
	unsigned long nr = m->nr;

	if (vma_pages(vma) > nr)
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	vm_flags_clear(vma, VM_MAYEXEC);
	if (!write) {
		if (vma->vm_flags & VM_WRITE)
			return -EACCES;
		vm_flags_clear(vma, VM_MAYWRITE);
	}
	nr = vma_pages(vma);
	return vm_insert_pages(vma, vma->vm_start, m->pages, &nr);
}
