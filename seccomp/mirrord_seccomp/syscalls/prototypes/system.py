"""Calls on the machine, message queues and semaphores, keys, tracing; and calls that Linux has removed."""

from typing import Final

PROTOTYPES: Final = {
    "uname": "buf:POINTER",
    "sethostname": "name:STRING len:SIZE",
    "setdomainname": "name:STRING len:SIZE",
    "sysinfo": "info:POINTER",
    "syslog": "type:COMMAND bufp:POINTER len:SIZE",
    "sysfs": "option:COMMAND arg1:INT arg2:INT",
    "getrandom": "buf:POINTER buflen:SIZE flags:FLAGS",
    "reboot": "magic:INT magic2:INT op:COMMAND arg:POINTER",
    "kexec_load": "entry:POINTER nr_segments:INT segments:POINTER flags:FLAGS",
    "kexec_file_load": "kernel_fd:FD initrd_fd:FD cmdline_len:SIZE cmdline:STRING flags:FLAGS",
    "init_module": "module_image:POINTER len:SIZE param_values:STRING",
    "finit_module": "fd:FD param_values:STRING flags:FLAGS",
    "delete_module": "name:STRING flags:FLAGS",
    # Tracing
    "perf_event_open": "attr:POINTER pid:PID cpu:INT group_fd:FD flags:FLAGS",
    "bpf": "cmd:COMMAND attr:POINTER size:SIZE",
    "uprobe": "",
    "uretprobe": "",
    # Keys
    "add_key": "type:STRING description:STRING payload:POINTER plen:SIZE keyring:INT",
    "request_key": "type:STRING description:STRING callout_info:STRING dest_keyring:INT",
    "keyctl": "op:COMMAND arg2:INT arg3:INT arg4:INT arg5:INT",
    # POSIX message queues; their names are no paths
    "mq_open": "name:STRING oflag:FLAGS mode:MODE attr:POINTER",
    "mq_unlink": "name:STRING",
    "mq_timedsend": "mqdes:FD msg_ptr:POINTER msg_len:SIZE msg_prio:INT abs_timeout:POINTER",
    "mq_timedreceive": "mqdes:FD msg_ptr:POINTER msg_len:SIZE msg_prio:POINTER abs_timeout:POINTER",
    "mq_notify": "mqdes:FD sevp:POINTER",
    "mq_getsetattr": "mqdes:FD newattr:POINTER oldattr:POINTER",
    # System V message queues and semaphores
    "msgget": "key:INT msgflg:FLAGS",
    "msgsnd": "msqid:INT msgp:POINTER msgsz:SIZE msgflg:FLAGS",
    "msgrcv": "msqid:INT msgp:POINTER msgsz:SIZE msgtyp:INT msgflg:FLAGS",
    "msgctl": "msqid:INT op:COMMAND buf:POINTER",
    "semget": "key:INT nsems:INT semflg:FLAGS",
    "semop": "semid:INT sops:POINTER nsops:INT",
    "semtimedop": "semid:INT sops:POINTER nsops:INT timeout:POINTER",
    "semctl": "semid:INT semnum:INT op:COMMAND arg:POINTER",
    # Removed, or never there
    "_sysctl": "",
    "afs_syscall": "",
    "create_module": "",
    "get_kernel_syms": "",
    "getpmsg": "",
    "nfsservctl": "",
    "putpmsg": "",
    "query_module": "",
    "security": "",
    "tuxcall": "",
    "vserver": "",
}
