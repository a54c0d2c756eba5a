"""Clocks, timers and sleeping."""

from typing import Final

PROTOTYPES: Final = {
    "time": "tloc:POINTER",
    "times": "buf:POINTER",
    "gettimeofday": "tv:POINTER tz:POINTER",
    "settimeofday": "tv:POINTER tz:POINTER",
    "adjtimex": "buf:POINTER",
    "clock_gettime": "clockid:ADVICE tp:POINTER",
    "clock_settime": "clockid:ADVICE tp:POINTER",
    "clock_getres": "clockid:ADVICE res:POINTER",
    "clock_adjtime": "clk_id:ADVICE buf:POINTER",
    "nanosleep": "duration:POINTER rem:POINTER",
    "clock_nanosleep": "clockid:ADVICE flags:FLAGS t:POINTER remain:POINTER",
    "alarm": "seconds:INT",
    "getitimer": "which:ADVICE curr_value:POINTER",
    "setitimer": "which:ADVICE new_value:POINTER old_value:POINTER",
    "timer_create": "clockid:ADVICE sevp:POINTER timerid:POINTER",
    "timer_settime": "timerid:INT flags:FLAGS new_value:POINTER old_value:POINTER",
    "timer_gettime": "timerid:INT curr_value:POINTER",
    "timer_getoverrun": "timerid:INT",
    "timer_delete": "timerid:INT",
    "timerfd_create": "clockid:ADVICE flags:FLAGS",
    "timerfd_settime": "fd:FD flags:FLAGS new_value:POINTER old_value:POINTER",
    "timerfd_gettime": "fd:FD curr_value:POINTER",
}
