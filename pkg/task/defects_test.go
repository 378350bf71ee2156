package task_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// defects lists what the original's task engine gets wrong, or promises and does not
// have, and what an engine of ours has to do instead; beside each the test that is
// named after it. A test is named by its package below pkg and its name; those of a
// contract by the package of the contract.
var defects = []struct{ defect, test string }{
	// States and transitions.
	{"three machines that differ; one of them leaves waiting out", "task/tasktest TestIllegalTransitions"},
	{"an error makes any task failed, ended ones too", "task/tasktest TestLateOutputIsRefused"},
	{"unknown ids are answered with null, false, or nothing", "task/tasktest TestUnknownTaskIsAnError"},

	// Fields.
	{"input, model and thinking are not stored, so that no task can be run again", "task/tasktest TestInputSurvivesRestart"},
	{"what a run was asked beside its input is not stored either", "turn TestRetryAsksWithImagesAndSystemPrompt"},
	{"events have no number and no link: one that is missing or changed is not noticed", "task/tasktest TestEventsAreGapFreeAndLinked"},
	{"events do not say who, where and in which attempt", "task/tasktest TestEventsTellActorHostAndAttempt"},
	{"times have no format", "service/tasks TestTimesOnTheWire"},
	{"the beginning and the end are times that later writes may move", "task/tasktest TestStartedAtIsSetOnce"},
	{"progress goes back within an attempt", "task/tasktest TestProgressGoesForward"},
	{"progress is set after the end", "task/tasktest TestProgressAfterTheEndIsRefused"},
	{"progress NaN is stored, and events carry what is out of range", "task/tasktest TestProgressNaNIsRejected"},
	{"an output is stored in any state", "task/tasktest TestLateOutputIsRefused"},

	// Persistence, history, resuming.
	{"the only storage is memory", "task/tasktest TestInputSurvivesRestart"},
	{"long runs do not survive a restart, although they are said to", "daemon TestKillNineInMidAnswer"},
	{"what was acknowledged is lost in a crash", "task/durable TestKillNine"},
	{"a long queue is lost in a restart", "task/durable TestTenThousandQueuedSurviveARestart"},
	{"no retention", "task/tasktest TestRetention"},
	{"no limits", "task/tasktest TestLimits"},
	{"lists have no order and no pages", "task/tasktest TestPagesAreStableUnderWrites"},
	{"nothing is ever deleted", "task/tasktest TestPurgeKeepsTreesWhole"},
	{"only waiting tasks resume, and there is no condition to wait for", "task/tasktest TestWaiting"},
	{"a workflow of which a step is done is stuck", "task/tasktest TestHalfDoneWorkflowResumes"},
	{"no lease and no owner: a worker that hung goes on writing", "task/tasktest TestExpiredLeaseIsFenced"},
	{"no heartbeat", "task/tasktest TestHeartbeatKeepsTheLease"},
	{"the worker of an earlier life is waited for", "task/tasktest TestLeasesOfAnEarlierLifeAreTakenOver"},
	{"no attempts: what kills its worker is tried for ever", "task/tasktest TestDeadLetter"},
	{"no retry", "task/tasktest TestRetryBacksOff"},
	{"no deadline", "task/tasktest TestDeadlineIsFailedNeverCompleted"},
	{"no checkpoint", "task/tasktest TestCheckpointSurvivesTakeover"},
	{"load, change, save without a lock: completed and cancelled both succeed", "task/tasktest TestCompletedAndCancelledNeverBoth"},
	{"concurrent calls see states that no order of them explains", "task/tasktest TestLinearizable"},
	{"two workers get the same task", "task/tasktest TestManyWorkersNoDoubles"},
	{"a submission that is sent again runs again", "task/tasktest TestSubmitIsIdempotent"},
	{"a task and what is stored with it part in a crash", "task/tasktest TestAlsoIsOneUnit"},
	{"a clock that is set ends leases and delays early", "task/durable TestWallClockJumpsExpireNothing"},
	{"a clock that was set back holds retries up", "task/durable TestStampsOfAnotherClock"},
	{"a full disk is told as success", "task/durable TestFullDiskIsUnavailable"},
	{"damage is handed to a worker", "task/durable TestDamagedBlob"},

	// Relations, events, cancelling.
	{"the parent need not exist", "task/tasktest TestParentMustExist"},
	{"nobody can ask for the children", "task/tasktest TestParents"},
	{"cancelling does not reach the children", "task/tasktest TestCancelReachesTheChildren"},
	{"no dependencies", "task/tasktest TestDependsOn"},
	{"dependents of a failed task run", "task/tasktest TestDependentsOfAFailedTaskDoNotRun"},
	{"a failed dependency counts as done, whatever its dependents want", "task/tasktest TestDependencyPolicies"},
	{"an output is not told to those who watch", "task/tasktest TestOutputIsTold"},
	{"a watch cannot resume, and misses what happens between its first answer and the subscription", "task/tasktest TestWatchFromAnyCursor"},
	{"a watch does not survive its connection, or the gateway", "cli TestWatchTellsAllAcrossTheGatewaysLives"},
	{"watchers are never dropped", "service/tasks TestWatchesEndWithTheirConnection"},
	{"slow watchers are buffered without bound", "task/tasktest TestSlowWatcherIsCut"},
	{"cancelling does not stop the work", "task/tasktest TestCancelReachesTheWorker"},
	{"cancelling does not stop the model", "turn TestCancelReachesTheTurn"},
	{"a cancelled task ends as failed", "task/tasktest TestCancelledNeverBecomesFailed"},

	// Transport.
	{"a timeout is completed, with an empty answer", "task/tasktest TestTimeoutIsFailedNeverCompleted"},
	{"a run that takes too long is a completed task", "turn TestTimeoutIsFailedNeverCompleted"},
	{"session and metadata are not passed on", "transport/transporttest TestSessionAndMetadataArrive"},
	{"errors become null and false", "transport/transporttest TestErrorsAreNotSwallowed"},
	{"a retried submission carries no key", "transport/transporttest TestSubmitTwice"},
	{"agents and skills are made up", "transport/local TestAgentsAndSkillsAreNotMadeUp"},
	{"the runtime is always healthy, and counts what went through one object", "transport/transporttest TestStatusIsMeasured"},
	{"runs are no tasks: nothing reaches the engine", "daemon TestOneHistoryWhateverAsked"},
}

// Every defect has its test: each name is that of a test, or of a case of a contract.
func TestEachDefectHasItsTest(t *testing.T) {
	sources := map[string]string{}
	for _, d := range defects {
		dir, name, ok := strings.Cut(d.test, " ")
		require.True(t, ok, d.test)
		if sources[dir] == "" {
			files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(dir), "*.go"))
			require.NoError(t, err)
			for _, file := range files {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				sources[dir] += string(text)
			}
		}
		isTest := strings.Contains(sources[dir], "\nfunc "+name+"(t *testing.T) {")
		isCase := strings.HasSuffix(dir, "test") && strings.Contains(sources[dir], `"`+name+`"`)
		require.True(t, isTest || isCase, "%s: no test %s in pkg/%s", d.defect, name, dir)
	}
}
