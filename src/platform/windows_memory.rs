//! How much memory the process can still get on Windows: what is free of the machine's memory and of what programs may commit, or
//! less if a job limits it, as in a container.

use windows_sys::Win32::System::JobObjects::{
    JOB_OBJECT_LIMIT_JOB_MEMORY, JOB_OBJECT_LIMIT_PROCESS_MEMORY, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JOBOBJECT_LIMIT_VIOLATION_INFORMATION, JOBOBJECTINFOCLASS, JobObjectExtendedLimitInformation,
    JobObjectLimitViolationInformation, QueryInformationJobObject,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// In bytes; `None` if the system does not say.
pub(crate) fn available() -> Option<u64> {
    let mut machine = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: the struct has the size that it says.
    if unsafe { GlobalMemoryStatusEx(&mut machine) } == 0 {
        return None;
    }
    let job = left_in_job().unwrap_or(u64::MAX);
    Some(machine.ullAvailPhys.min(machine.ullAvailPageFile).min(job))
}

/// What the process's job leaves; `None` without a limit.
fn left_in_job() -> Option<u64> {
    let limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = job(JobObjectExtendedLimitInformation)?;
    let flags = limits.BasicLimitInformation.LimitFlags;
    let mut left = None;
    if flags & JOB_OBJECT_LIMIT_PROCESS_MEMORY != 0 {
        left = Some((limits.ProcessMemoryLimit as u64).saturating_sub(committed()?));
    }
    if flags & JOB_OBJECT_LIMIT_JOB_MEMORY != 0 {
        let used: JOBOBJECT_LIMIT_VIOLATION_INFORMATION = job(JobObjectLimitViolationInformation)?;
        // What the job uses is documented only for jobs that notify of it; the process is a part of it.
        let used = used.JobMemory.max(committed()?);
        let of_job = (limits.JobMemoryLimit as u64).saturating_sub(used);
        left = Some(left.unwrap_or(u64::MAX).min(of_job));
    }
    left
}

/// What the system says about the process's job; `None` if it is in none.
fn job<T: Default>(class: JOBOBJECTINFOCLASS) -> Option<T> {
    let mut info = T::default();
    // SAFETY: the class's struct, with its size. No handle means the process's own job.
    let known = unsafe {
        QueryInformationJobObject(
            std::ptr::null_mut(),
            class,
            (&raw mut info).cast(),
            size_of::<T>() as u32,
            std::ptr::null_mut(),
        )
    };
    (known != 0).then_some(info)
}

/// Memory that the process has committed.
fn committed() -> Option<u64> {
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    let mut counters = PROCESS_MEMORY_COUNTERS { cb: size, ..Default::default() };
    // SAFETY: the struct has the size that it says.
    let known = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &mut counters, size) };
    (known != 0).then_some(counters.PagefileUsage as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::System::JobObjects::{AssignProcessToJobObject, CreateJobObjectW, SetInformationJobObject};

    #[test]
    fn the_machine_has_memory_and_a_job_limits_it() {
        let before = available().unwrap();
        assert!(before > 100 << 20, "{before}");
        // More than other tests need.
        let most = committed().unwrap() as usize + (1 << 40);
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION { ProcessMemoryLimit: most, ..Default::default() };
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY;
        // SAFETY: a job of this process, which it never leaves. The struct has its size.
        unsafe {
            let job = CreateJobObjectW(std::ptr::null(), std::ptr::null());
            let size = size_of_val(&limits) as u32;
            assert!(!job.is_null());
            let set = SetInformationJobObject(job, JobObjectExtendedLimitInformation, (&raw const limits).cast(), size);
            assert!(set != 0 && AssignProcessToJobObject(job, GetCurrentProcess()) != 0);
        }
        match left_in_job() {
            // Wine keeps no limits of memory.
            None => println!("skipped: this system does not keep a job's limits"),
            Some(left) => assert!(left > 1 << 39 && left <= 1 << 40, "{left}"),
        }
    }
}
