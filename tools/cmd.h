/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * The commands of `rmio`, one function each, called by main.c with argv[0]
 * `rmio` and the command's name.  What they return is the exit status.
 */
#ifndef RMIO_TOOLS_CMD_H
#define RMIO_TOOLS_CMD_H

int cmd_dev(int argc, char **argv);
int cmd_vmm(int argc, char **argv);
int cmd_connect(int argc, char **argv);
int cmd_bpfd(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
