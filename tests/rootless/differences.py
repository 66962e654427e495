"""What tests cannot show to an unprivileged user, and the rule that makes it so: all of it.

``pytest --rootless`` runs the tests of ``DIFFERENCES`` like all others, and expects that they fail with their symptom:
one that passes is reported, as one that fails with something else is. ``SAME_FOR_ALL`` is not run again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["DIFFERENCES", "SAME_FOR_ALL", "Difference", "Same", "difference_of", "rows", "same_of", "unmatched"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """``tests``: patterns of node ids (fnmatch, where ``[`` is itself). ``rule``: what the kernel does, in a sentence;
    ``reference``: where that is written. ``symptom``: what the failure must show, a regular expression; none where each
    test has its own way to say it."""

    rule: str
    reference: str
    tests: tuple[str, ...]
    symptom: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    """Tests whose result cannot depend on who runs them."""

    tests: str
    reason: str


SAME_FOR_ALL: tuple[Same, ...] = (
    Same(tests="tests/test_linters.py::*", reason="they read the sources, and start none of them"),
    Same(tests="tests/test_habits.py::*", reason="they read the sources, and start none of them"),
    Same(tests="tests/native/test_sources.py::*", reason="they read the sources, or try readers of bytes"),
    Same(tests="tests/unit/*::*", reason="the core is values in, values out"),
    Same(tests="tests/rootless/*::*", reason="they are users of their own, made by root"),
    Same(tests="tests/attacks/rootless/*::*", reason="they are users of their own, made by root"),
    Same(tests="tests/vm/*::*", reason="they run in a virtual machine, whose users are its own"),
)

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        rule="Who may not write into a cgroup makes none below it: limits are told, not enforced, and figures are those"
        " of processes",
        reference="cgroups(7), Cgroups delegation: delegating a hierarchy to a less privileged user",
        tests=(
            "tests/system/cgroups/test_cgroups.py::test_a_container_is_where_it_belongs_from_its_first_moment*",
            "tests/system/cgroups/test_cgroups.py::test_a_container_sees_its_own_cgroups_read_only*",
            "tests/system/cgroups/test_cgroups.py::test_a_pod_made_again_has_its_new_limits*",
            "tests/system/cgroups/test_cgroups.py::test_a_refusing_hierarchy_is_named*",
            "tests/system/cgroups/test_cgroups.py::test_a_second_look_finds_the_same*",
            "tests/system/cgroups/test_cgroups.py::test_everything_goes_with_the_root*",
            "tests/system/cgroups/test_cgroups.py::test_nothing_outlives_a_kill*",
            "tests/system/cgroups/test_cgroups.py::test_removing_what_runs_is_refused_and_later_done*",
            "tests/system/cgroups/test_cgroups.py::test_running_out_of_memory_is_told*",
            "tests/system/cgroups/test_cgroups.py::test_the_kernel_takes_every_limit*",
            "tests/system/cgroups/test_cgroups.py::test_the_limit_of_processes_holds*",
            "tests/system/cgroups/test_cgroups.py::test_what_cannot_be_killed_is_told*",
            "tests/system/cgroups/test_devices.py::test_the_hosts_devices_are_out_of_reach*",
            "tests/system/cgroups/test_figures.py::test_the_kernel_holds_the_figures_of_the_formulas*",
            "tests/system/cgroups/test_usage.py::test_a_look_at_everything*",
            "tests/system/cgroups/test_usage.py::test_a_quota_throttles*",
            "tests/system/cgroups/test_usage.py::test_a_second_of_processor_time*",
            "tests/system/cgroups/test_usage.py::test_memory_of_its_own_and_of_the_page_cache*",
            "tests/system/cgroups/test_usage.py::test_pressure_is_told_where_there_is_a_v2_hierarchy*",
            "tests/system/cgroups/test_usage.py::test_processes_and_threads*",
            "tests/system/cgroups/test_usage.py::test_what_is_in_the_page_cache_is_not_in_the_working_set*",
            "tests/system/runtime/test_execution.py::test_timeout_kills_everything_without_cgroup_v2",
            "tests/system/runtime/test_execution.py::test_a_command_in_a_frozen_container_without_cgroup_v2",
            "tests/system/runtime/test_execution.py::test_what_a_command_leaves_running_lives",
            "tests/system/runtime/test_security_context.py::test_a_profile_that_is_none*",
            "tests/e2e/test_resources.py::test_the_whole_pods_limits_are_the_containers",
            "tests/e2e/test_resources.py::test_a_burstable_pod",
            "tests/e2e/test_resources.py::test_init_containers_count",
            "tests/e2e/test_resources.py::test_who_wants_too_much_is_killed",
            "tests/e2e/test_figures.py::test_known_amounts_through_every_door",
            "tests/e2e/test_look.py::test_inspect_tells_the_cgroup",
            "tests/e2e/test_wild.py::test_it_runs[resource-guaranteed]",
            "tests/e2e/test_demo.py::test_both_containers_share_address_ports_and_ipc",
            "tests/native/test_exec.py::test_a_cgroup_for_each*",
            "tests/native/test_exec.py::test_what_is_left_running_keeps_its_cgroup*",
            "tests/native/test_exec.py::test_a_frozen_container*",
            "tests/native/test_exec.py::test_a_cgroup_that_is_gone*",
            "tests/native/test_launch.py::test_launches_run_side_by_side*",
            "tests/native/test_shim.py::test_killed_before_it_could_exec",
        ),
    ),
    Difference(
        rule="A user namespace in another has ids of that one only, and who shows files with other owners needs power"
        " over their file system: pods get no user namespace of their own",
        reference="user_namespaces(7), Defining user and group ID mappings; mount_setattr(2), ID-mapped mounts",
        tests=(
            "tests/system/runtime/test_user_namespace.py::test_a_file_system_that_cannot_be_shown",
            "tests/system/runtime/test_user_namespace.py::test_an_unmasked_proc_shows_and_lets_nothing_be_changed",
            "tests/system/runtime/test_user_namespace.py::test_commands_join_it",
            "tests/system/runtime/test_user_namespace.py::test_containers_in_a_container*",
            "tests/system/runtime/test_user_namespace.py::test_ids_end_where_the_range_does",
            "tests/system/runtime/test_user_namespace.py::test_layers_of_an_image_as_a_volume",
            "tests/system/runtime/test_user_namespace.py::test_pods_have_ranges_of_their_own_and_keep_them",
            "tests/system/runtime/test_user_namespace.py::test_privileged_in_there_is_not_privileged_out_here",
            "tests/system/runtime/test_user_namespace.py::test_root_is_somebody_else_outside",
            "tests/system/runtime/test_user_namespace.py::test_sysctls",
            "tests/system/runtime/test_user_namespace.py::test_the_image_belongs_to_its_root",
            "tests/system/runtime/test_user_namespace.py::test_the_pods_own_files_are_its_roots",
            "tests/system/runtime/test_user_namespace.py::test_users_and_what_they_share*",
            "tests/system/runtime/test_user_namespace.py::test_volumes_show_the_numbers_on_disk",
            "tests/system/runtime/test_user_namespace.py::test_what_is_mounted_stays",
            "tests/system/runtime/test_user_namespace.py::test_what_is_not_shown_to_it_belongs_to_nobody",
            "tests/system/runtime/test_user_namespace.py::test_what_it_may_do_inside",
            "tests/system/runtime/test_user_namespace.py::test_what_its_user_namespace_owns",
            "tests/system/runtime/test_user_namespace.py::test_without_a_range_it_does_not_start",
            "tests/system/runtime/test_sessions.py::*[own users]",
            "tests/e2e/test_cp.py::test_containers_with_users_of_their_own",
            "tests/e2e/test_port_forward.py::test_programs_in_the_network_of_a_pod_with_users_of_its_own",
            "tests/e2e/test_user_namespace.py::test_a_pod_with_users_of_its_own",
            "tests/e2e/test_user_namespace.py::test_its_network_is_its_own_to_configure",
            "tests/e2e/test_user_namespace.py::test_a_probe_runs_as_the_containers_user",
            "tests/e2e/test_user_namespace.py::test_it_keeps_its_ids_and_gives_them_back",
            "tests/native/test_userns.py::test_the_loopback_of_an_owned_network_is_up",
            "tests/native/test_userns.py::test_a_process_becomes_root_of_the_namespace*",
            "tests/native/test_userns.py::test_without_a_root_file_system_there_is_no_way_in",
            "tests/native/test_userns.py::test_something_else_is_no_user_namespace",
            "tests/native/test_unpack_confined.py::test_it_works_in_a_user_namespace",
            "tests/attacks/runtime/test_contexts.py::test_a_container_that_is_set_up_among_others[spec1]",
            "tests/attacks/runtime/test_contexts.py::test_no_power_of_a_pods_root_reaches_out",
            "tests/attacks/runtime/test_contexts.py::test_root_of_a_pod_is_nobody_to_files_that_are_not_shown_to_it",
        ),
    ),
    Difference(
        rule="Device nodes are made by who has CAP_MKNOD in the initial user namespace, and a privileged container sees"
        " those of the host that are the user's to open",
        reference="mknod(2), EPERM; user_namespaces(7), Capabilities",
        tests=(
            "tests/system/runtime/test_security_context.py::test_a_privileged_container_uses_the_hosts_devices",
            "tests/system/runtime/test_security_context.py::test_one_privileged_container_makes_its_neighbours_no_stronger",
            "tests/system/runtime/test_volume_mounts.py::test_an_image_is_shown_read_only_and_harmless*",
            "tests/native/test_attacks.py::test_nodes_stay_inside*",
            "tests/native/test_launch.py::test_rootfs*",
            "tests/attacks/runtime/test_setup.py::test_device_nodes_of_an_image_do_not_open",
            "tests/attacks/volumes/test_group_walk.py::test_nothing_is_opened_that_does_something_when_it_is",
            "tests/system/images/test_comparison.py::test_files_are_those_of_umoci_and_podman[sixty-layers-*",
            "tests/system/images/test_comparison.py::test_every_difference_by_design_is_there",
            "tests/system/images/test_layers.py::test_passwd_that_is_no_file[entry1-EACCES]",
            "tests/attacks/test_unpack.py::test_devices_become_whiteouts_unless_harmless*",
        ),
    ),
    Difference(
        rule="Keys are told apart by ids, and a container's root has the user's: no container is without the filter"
        " that refuses them",
        reference="keyrings(7), Access rights; keyctl(2)",
        tests=(
            "tests/system/runtime/test_security_context.py::test_a_privileged_container_has_all_there_is",
            "tests/e2e/test_security_context.py::test_privileges",
            "tests/e2e/test_security_context.py::test_seccomp_profiles",
            "tests/system/runtime/test_security_context.py::test_which_filter[context?-0]",
        ),
        symptom="Seccomp|'2'",
    ),
    Difference(
        rule="The kernel's log is read by who has CAP_SYSLOG in the initial user namespace, with and without a filter",
        reference="syslog(2), EPERM; kernel/printk/printk.c, check_syslog_permissions",
        tests=("tests/attacks/seccomp/test_seccomp.py::test_it_is_the_filter_that_refuses_them",),
        symptom=r"\['syslog'\] == \[\]",
    ),
    Difference(
        rule="A file system of message queues is mounted by who is root in the user namespace of its ipc namespace, and"
        " the host's is not the user's",
        reference="ipc/mqueue.c, mqueue_get_tree; ipc_namespaces(7)",
        tests=("tests/system/runtime/test_host_namespaces.py::test_the_hosts_message_queues",),
    ),
    Difference(
        rule="Root of a user namespace mounts file systems that say so (FS_USERNS_MOUNT): hugetlbfs and NFS do not",
        reference="mount(2), EPERM; user_namespaces(7), Capabilities",
        tests=(
            "tests/system/volumes/test_group.py::test_an_empty_dir_is_the_group_s_from_its_beginning[HugePages]",
            "tests/system/volumes/test_nfs.py::test_it_is_mounted_once_and_unmounted_at_removal*",
            "tests/system/volumes/test_nfs.py::test_without_the_helper_the_remedy_is_told",
            "tests/system/volumes/test_nfs.py::test_what_the_helper_says_is_told",
            "tests/system/volumes/test_nfs.py::test_a_server_that_does_not_answer_is_given_up",
            "tests/system/volumes/test_nfs.py::test_a_cancelled_mount_leaves_no_process",
            "tests/system/volumes/test_nfs.py::test_the_event_loop_goes_on_meanwhile",
            "tests/system/volumes/test_nfs.py::test_a_name_that_looks_like_an_option_is_none",
        ),
    ),
    Difference(
        rule="Memory that is never swapped is not given to a tmpfs of a user namespace",
        reference="tmpfs(5), noswap; mm/shmem.c, shmem_parse_one",
        tests=("tests/system/volumes/test_memory.py::test_it_is_never_swapped_where_the_kernel_can_promise_it",),
        symptom="noswap",
    ),
    Difference(
        rule="Who has no number in a user namespace, as root of the machine has none, is shown as nobody there (65534)",
        reference="user_namespaces(7), Unmapped user and group IDs",
        tests=(
            "tests/native/test_attacks.py::test_masks_do_not_trust_the_image*",
            "tests/native/test_launch.py::test_devices_of_the_host*",
        ),
        symptom="65534:65534",
    ),
    Difference(
        rule="Owners that the user namespace has no number for can be given to no file",
        reference="chown(2), EINVAL; user_namespaces(7), Unmapped user and group IDs",
        tests=("tests/native/test_unpack_layers.py::test_the_same_as_gnu_tar*",),
        symptom="Invalid argument",
    ),
)


def difference_of(node_id: str) -> Difference | None:
    """The first entry that names the test."""
    return next((one for one in DIFFERENCES if any(_matches(node_id, pattern) for pattern in one.tests)), None)


def same_of(node_id: str) -> Same | None:
    """The first entry that names the test."""
    return next((one for one in SAME_FOR_ALL if _matches(node_id, one.tests)), None)


def unmatched(node_ids: Iterable[str]) -> list[str]:
    """The patterns that name no test, of those whose file has a test in ``node_ids``."""
    ids = list(node_ids)
    files = {node_id.partition("::")[0] for node_id in ids}
    patterns = [*(one.tests for one in SAME_FOR_ALL), *(pattern for one in DIFFERENCES for pattern in one.tests)]
    return [
        pattern
        for pattern in patterns
        if any(fnmatchcase(file, pattern.partition("::")[0]) for file in files)
        and not any(_matches(node_id, pattern) for node_id in ids)
    ]


def rows() -> list[str]:
    """The table of ``docs/rootless.md``, by the rule."""
    return [f"| {one.rule} | {one.reference} |" for one in DIFFERENCES]


def _matches(node_id: str, pattern: str) -> bool:
    return fnmatchcase(node_id, pattern.replace("[", "[[]"))
